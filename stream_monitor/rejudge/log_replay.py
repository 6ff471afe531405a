"""Judging a `profiles` log again, on other terms than those on which it was judged: pure, and nothing is published.

The log's settings records keep their places and lose their contents: panes begin to close where they began to close,
but by the settings that are asked for. Edges are the one thing that cannot be made anew, because profiles lie on them:
where the terms would lead to others, those that the judge once published are taken.
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
from stream_monitor.judge.model import JudgeOutput
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.names import END, NEVER
from stream_monitor.profiles.records import DeltaRecord, PinRecord, Record, ResetRecord, SettingsRecord

Log = Iterable[tuple[Record, int]]
"""Records of a `profiles` partition in log order, each with the broker's time of it (epoch ms)."""


@dataclass(frozen=True)
class RejudgeTerms:
    """By what a log is judged again."""

    settings: Settings
    obey_log: bool = False
    """The settings that the log says stay in force; `settings` are what it says nothing of."""
    whole: bool = True
    """The log begins with its first record. Of one whose beginning has expired nothing is waited for: the settings are
    in force, and edges known, from the first record that is left."""
    pinned: Sequence[PinnedBaseline] = ()
    """In force from the beginning."""
    keep_pins: bool = True
    """Baselines that were pinned or reset in the log are pinned or reset again, where they were."""
    catalog: BinCatalog = field(default_factory=BinCatalog)
    """The edges on which the log's profiles lie."""


class LogReplay:
    """One partition that is judged again.

    `begins` and `last` are the starts of its oldest and newest pane (epoch ms) among what was heard.
    """

    def __init__(self, terms: RejudgeTerms, judge: PartitionJudge) -> None:
        self.terms, self.judge = terms, judge
        self.begins, self.last = END, NEVER
        text = judged_text(terms.settings)
        self._wanted = SettingsRecord(hashlib.sha256(text.encode()).hexdigest()[:16], text)

    def process(self, log: Log) -> Iterator[JudgeOutput]:
        """Everything that the judge says of the log.

        Raises:
            SettingsError: the settings would change what profiles are made of: panes, windows, segments or grain.
        """
        if not self.terms.whole:
            self.judge.use_known_edges(self.terms.catalog)
            yield from self._emit(self._wanted, 0)
        for baseline in self.terms.pinned:
            for pin in baseline.records():
                yield from self._emit(pin, 0)
        for record, arrived in log:
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
        with np.errstate(over="ignore", invalid="ignore"):  # as in the stage: someone sent numbers near 1e308
            return list(self.judge.process(record, arrived))

    def _compare(self, recorded: SettingsRecord) -> None:
        """Take the known edges where the settings asked for would lead to others than the log's."""
        try:
            had, unset = understood(self.terms.settings, recorded.text)
        except SettingsError as error:
            raise SettingsError(
                f"what profiles are made of cannot be judged otherwise; `replay --topics` can, from events: {error}"
            ) from error
        wanted = self.terms.settings
        same = (had.baseline, had.caps, had.detection.limits) == (wanted.baseline, wanted.caps, wanted.detection.limits)
        if unset or not same or self.terms.pinned or not self.terms.keep_pins:
            self.judge.use_known_edges(self.terms.catalog, from_start=self.terms.whole)


def judge_again(terms: RejudgeTerms, number: int) -> LogReplay:
    """A judge of the partition of this number that knows nothing yet."""
    return LogReplay(terms, PartitionJudge(number, terms.settings, PartitionState(), {}))
