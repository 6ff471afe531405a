"""The offset metadata that describe commits, and the checks that a worker makes before it continues from it."""

from __future__ import annotations

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.describe.clock_jumps import Candidate
from stream_monitor.describe.dead_letter_quota import Quota
from stream_monitor.describe.intake import IntakeCounts
from stream_monitor.errors import FormatError, RestoreError, SettingsError
from stream_monitor.profiles.names import NEVER
from stream_monitor.stages.contract import Position
from stream_monitor.stages.topology import Topology

WIDTHS = 32


class OffsetMetadata(msgspec.Struct, omit_defaults=True):
    """Stored with a committed offset: all that a restart needs besides the change logs."""

    ts: int = NEVER
    low: int | None = None
    n: int = 0
    v: int = 1
    dead: Quota | None = None
    structure: str = ""
    """`Settings.profile_structure`; empty in metadata of a former version."""
    ahead: Candidate | None = None
    """An event time far ahead of `ts` that no second event has confirmed."""
    intake: IntakeCounts | None = None
    """What became of the partition's events; None in metadata of a former version."""
    widths: dict[str, int] = {}
    """Lengths of embeddings by name, at most `WIDTHS` of them, because offset metadata is limited to 4 KB."""

    def require_partitions(self, role: str, expected: int, accept_repartition: bool) -> None:
        """Raise RestoreError if the topic had another number of partitions."""
        if self.n != expected and not accept_repartition:
            raise RestoreError(
                f"{role} had {self.n} partitions at the last commit and has {expected} now: ids have moved away "
                "from their predictions. `run --accept-repartition` goes on, and labels miss the predictions whose ids "
                "have moved; or choose another app name to begin anew."
            )

    def require_structure(self, settings: Settings) -> None:
        """Raise SettingsError if the app's profiles have other panes, segments, grains or lengths of embeddings."""
        app, widths = settings.app, settings.embeddings
        if self.structure not in ("", settings.profile_structure()):
            raise SettingsError(
                f"time.pane, segments or join.grain differ from those of the running app {app!r}: its profiles cannot "
                "be merged with others. Keep them, or choose another app name."
            )
        for name, width in self.widths.items():
            if widths.get(name, width) != width:
                raise SettingsError(
                    f"embeddings.{name} has {widths[name]} numbers here and {width} in the running app {app!r}: give "
                    "it another name, or choose another app name."
                )


class OffsetFormat:
    """Reads and writes the metadata of the offsets of one app."""

    def __init__(self, settings: Settings, topology: Topology) -> None:
        self._settings, self._topology = settings, topology
        self._structure = settings.profile_structure()

    def read(self, role: str, number: int, position: Position) -> OffsetMetadata:
        """The metadata of a committed offset.

        Raises:
            FormatError: a newer version committed it.
            RestoreError: the topic had another number of partitions.
            SettingsError: the app's profiles have another structure.
        """
        if not position.metadata:
            return OffsetMetadata()
        metadata = msgspec.json.decode(position.metadata, type=OffsetMetadata)
        if metadata.v > OffsetMetadata().v:
            raise FormatError(f"{role}/{number} was committed by a newer version of stream_monitor: upgrade first")
        metadata.require_partitions(role, self._topology.partitions(role), self._topology.accept_repartition)
        metadata.require_structure(self._settings)
        return metadata

    def is_current(self, role: str, metadata: OffsetMetadata) -> bool:
        """Whether metadata names the present partition count and structure, so that it need not be written again."""
        return (metadata.n, metadata.structure) == (self._topology.partitions(role), self._structure)

    def write(
        self,
        role: str,
        clock: tuple[int, Candidate | None],
        low: int | None,
        dead: Quota | None,
        intake: IntakeCounts | None = None,
    ) -> str:
        """The metadata of an offset.

        `clock` is the largest event time read (epoch ms), and one that is far ahead. `low` is the offset in the change
        log of the oldest pending row.
        """
        metadata = OffsetMetadata(
            clock[0],
            low,
            self._topology.partitions(role),
            dead=dead,
            structure=self._structure,
            intake=intake,
            ahead=clock[1],
            widths=dict(sorted(self._settings.embeddings.items())[:WIDTHS]),
        )
        return msgspec.json.encode(metadata).decode()
