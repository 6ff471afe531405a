"""Judges a `profiles` log again with other settings or baselines. It is pure and publishes nothing.

Each settings record in the log is replaced by the requested settings. Panes therefore begin to close at the same record
as before, but with the new settings. Edges are the only thing that cannot be rebuilt, because the profiles are counted
on them: if the requested terms would lead to other edges, the replay uses those that the judge once published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.recorded import judged_text, understood
from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.model import JudgeOutput
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.judge.timelines.known_edges import EdgeUse, KnownEdges
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.names import END, NEVER
from stream_monitor.profiles.records import DeltaRecord, PinRecord, Record, ResetRecord, RolloutRecord, SettingsRecord
from stream_monitor.rollouts.past import PastRollout

Log = Iterable[tuple[Record, int]]
"""Records of a `profiles` partition in log order, each with its broker time (epoch ms)."""


@dataclass(frozen=True)
class RejudgeTerms:
    """The settings and baselines with which a log is judged again."""

    settings: Settings
    obey_log: bool = False
    """Keep the settings that the log records. `settings` then apply only to what the log does not record."""
    whole: bool = True
    """Whether the log still begins with its first record. If its beginning has expired, the settings are active and the
    edges known from the first remaining record on."""
    pinned: Sequence[PinnedBaseline] = ()
    """Pinned baselines that are active from the beginning."""
    keep_pins: bool = True
    """Apply the pins and resets of the log again, at their places."""
    catalog: BinCatalog = field(default_factory=BinCatalog)
    """The edges that the log's profiles are counted on."""
    past: PastRollout | None = None
    """A rollout that is judged over the log, in place of those that the log records."""


class LogReplay:
    """One partition that is judged again.

    `begins` and `last` are the starts of the oldest and the newest pane processed so far (epoch ms).
    """

    def __init__(self, terms: RejudgeTerms, judge: PartitionJudge) -> None:
        self.terms, self.judge = terms, judge
        self.begins, self.last = END, NEVER
        text = judged_text(terms.settings)
        self._wanted = SettingsRecord(hashlib.sha256(text.encode()).hexdigest()[:16], text)

    def process(self, log: Log) -> Iterator[JudgeOutput]:
        """Yield all outputs of the judge for the log.

        Raises:
            SettingsError: the settings would change the structure of profiles: panes, windows, segments or grain.
        """
        self.judge.use_edges(KnownEdges(self.terms.catalog))
        if not self.terms.whole:
            self.judge.use_edges(KnownEdges(self.terms.catalog, EdgeUse.ACTIVE))
            yield from self._emit(self._wanted, 0)
        for baseline in self.terms.pinned:
            for pin in baseline.records():
                yield from self._emit(pin, 0)
        if self.terms.past is not None:
            yield from self._emit(self.terms.past.start, 0)
        yield from self._process(log)
        if self.terms.past is not None and (last := self.terms.past.end) is not None:
            yield from self._emit(last, 0)

    def _process(self, log: Log) -> Iterator[JudgeOutput]:
        past = self.terms.past
        for record, arrived in log:
            if past is not None:
                past.observe(record)
                if isinstance(record, RolloutRecord):
                    continue
            if isinstance(record, SettingsRecord) and not self.terms.obey_log:
                self._compare(record)
                yield from self._emit(self._wanted, arrived)
            elif self.terms.keep_pins or not isinstance(record, PinRecord | ResetRecord):
                yield from self._emit(record, arrived)

    def _emit(self, record: Record, arrived: int) -> list[JudgeOutput]:
        if isinstance(record, DeltaRecord):
            panes = [delta.pane for delta in record.deltas if len(delta.pane)]
            self.begins = min([self.begins, *(int(pane.min()) for pane in panes)])
            self.last = max([self.last, *(int(pane.max()) for pane in panes)])
        with np.errstate(over="ignore", invalid="ignore"):  # as in the stage: events may hold numbers near 1e308
            outputs = list(self.judge.process(record, arrived))
        if self.terms.past is not None:
            for output in outputs:
                if isinstance(output, RolloutDecision):
                    self.terms.past.take(output)
        return outputs

    def _compare(self, recorded: SettingsRecord) -> None:
        """Use the known edges if the requested settings would lead to other edges than those of the log."""
        try:
            recorded_settings, unset = understood(self.terms.settings, recorded.text)
        except SettingsError as error:
            raise SettingsError(
                f"what profiles are made of cannot be judged otherwise; `replay --topics` can, from events: {error}"
            ) from error
        wanted = self.terms.settings
        same = (recorded_settings.baseline, recorded_settings.caps, recorded_settings.detection.limits) == (
            wanted.baseline,
            wanted.caps,
            wanted.detection.limits,
        )
        if unset or not same or self.terms.pinned or not self.terms.keep_pins:
            use = EdgeUse.IN_TURN if self.terms.whole else EdgeUse.ACTIVE
            self.judge.use_edges(KnownEdges(self.terms.catalog, use))


def judge_again(terms: RejudgeTerms, number: int) -> LogReplay:
    """A replay of a partition with an empty state."""
    return LogReplay(terms, PartitionJudge(number, terms.settings, PartitionState(), {}))
