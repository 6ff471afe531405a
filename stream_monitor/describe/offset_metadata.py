"""What describe commits beside an offset, and what of it another worker must share to go on from it."""

from __future__ import annotations

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.describe.dead_letter_quota import Quota
from stream_monitor.errors import FormatError, RestoreError, SettingsError
from stream_monitor.profiles.names import NEVER
from stream_monitor.stages.contract import Position

WIDTHS = 32


class OffsetMetadata(msgspec.Struct, omit_defaults=True):
    """Travels with a committed offset; all that a restart needs beside the change logs."""

    ts: int = NEVER
    low: int | None = None
    n: int = 0
    v: int = 1
    dead: Quota | None = None
    structure: str = ""
    """`Settings.profile_structure`; a former version tells none."""
    widths: dict[str, int] = {}
    """Of embeddings, by name; of at most `WIDTHS`, for an offset holds 4 KB."""

    def require_partitions(self, role: str, expected: int, accept_repartition: bool) -> None:
        """RestoreError where the topic had another number of partitions."""
        if self.n != expected and not accept_repartition:
            raise RestoreError(
                f"{role} had {self.n} partitions at the last commit and has {expected} now: ids have moved away "
                "from their predictions. `run --accept-repartition` goes on, and labels miss the predictions whose ids "
                "have moved; or choose another app name to begin anew."
            )

    def require_structure(self, settings: Settings) -> None:
        """SettingsError where the app's profiles are made of other panes, segments or grains, or of other vectors."""
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


def read_metadata(partition: str, position: Position) -> OffsetMetadata:
    """What was committed with an offset; FormatError where a newer version committed it."""
    if not position.metadata:
        return OffsetMetadata()
    metadata = msgspec.json.decode(position.metadata, type=OffsetMetadata)
    if metadata.v > OffsetMetadata().v:
        raise FormatError(f"{partition} was committed by a newer version of stream_monitor: upgrade first")
    return metadata
