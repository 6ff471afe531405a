"""Our CUSUMs on many runs at once, each run a row; and one value at a time, for streams of all detectors."""

from __future__ import annotations

import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.baselines.recent import BaselineSlice, SliceHistory, plan_of, seasonal, weight_of
from stream_monitor.config.detection import BaselineSettings
from stream_monitor.config.durations import HOUR, WEEK
from stream_monitor.detect.cusum.cusum import Cusums, CusumState, CusumTraining
from stream_monitor.detect.cusum.scores import scores_of
from stream_monitor.evaluate.streams import Source
from stream_monitor.profiles.bins import BINS, bin_values, make_edges
from stream_monitor.types import F64

BLOCK = 1_000
"""Values of every run that are scored at a time."""


class LearnedRows:
    """R runs that have learned from n0 values each, (n0, R)."""

    def __init__(self, values: F64, arl0: float, pane: int = 1, known: F64 | None = None) -> None:
        """With `known` (K,) values tell all runs their distribution, and each run's own only how they depend."""
        rows = values.shape[1]
        samples, of = (values, np.arange(rows)) if known is None else (known[:, None], np.zeros(rows, np.int64))
        borders = [make_edges(column).edges for column in samples.T]
        binned = [bin_values(edges, column) for edges, column in zip(borders, samples.T, strict=True)]
        counts = np.stack([np.bincount(at, minlength=BINS) for at in binned])[of]
        self.borders = [borders[i] for i in of]
        self.counts, self.scores = counts, scores_of(counts).of_bin
        self.pane, self.rows = pane, np.arange(rows)
        s = self._panes(self._scored(values))
        self.cusums = Cusums(CusumState.empty(rows))
        sizes = np.full(s.shape, float(pane))
        self.cusums.learn(self.rows, CusumTraining(counts, self.scores, np.full(rows, arl0), sizes, s))

    def _scored(self, values: F64) -> F64:
        scored = np.empty((values.shape[1], values.shape[0]))
        for r, borders in enumerate(self.borders):
            scored[r] = self.scores[r][bin_values(borders, values[:, r])]
        return scored.T

    def _panes(self, scored: F64) -> F64:
        count = len(scored) // self.pane
        return np.asarray(scored[: count * self.pane].reshape(count, self.pane, -1).sum(axis=1))

    def false_alarms(self, source: Source, count: int, keep: bool = True) -> int:
        """Alarms in `count` values of every run; after each the run goes on with what it knows.

        Without `keep` it goes back to its baseline, as in the judge, where a bad baseline stays a bad one.
        """
        alarms, seen, n = 0, 0, np.full(len(self.rows), float(self.pane))
        while seen < count:
            scored = self._scored(source(BLOCK))
            for s, ss in zip(self._panes(scored), self._panes(scored**2), strict=True):
                rang = self.cusums.step(self.rows, n, s, ss).row
                alarms += len(rang)
                if len(rang):
                    self.cusums.restart(rang, keep)
            seen += BLOCK
        return alarms

    def delays(self, source: Source, most: int) -> F64:
        """Values until each run's first alarm, (R,); NaN when there is none within `most`."""
        found, live, seen = np.full(len(self.rows), np.nan), self.rows, 0
        while seen < most and len(live):
            scored = self._scored(source(BLOCK))
            for s, ss in zip(self._panes(scored), self._panes(scored**2), strict=True):
                seen += self.pane
                rang = self.cusums.step(live, np.full(len(live), float(self.pane)), s[live], ss[live]).row
                if len(rang):
                    found[rang] = seen
                    live = live[np.isnan(found[live])]
        return found


class SeasonLearned(LearnedRows):
    """Runs that also know the hours of the week, by the histories of a judge."""

    def learn_hours(self, source: Source, per_hour: int, weeks: int) -> None:
        """Learn from so many weeks; after it each run's panes belong to the first hour of the week and go on."""
        plan = plan_of(BaselineSettings(kind="hour_of_week"), HOUR)
        assert plan is not None
        firsts = [Baseline("first", 0, int(c.sum()), {}, int(c.sum()), counts=c) for c in self.counts]
        histories = [SliceHistory.of(plan, first) for first in firsts]
        for hour in range(weeks * WEEK // HOUR):
            values = source(per_hour)
            for r, borders in enumerate(self.borders):
                at, n = np.unique(bin_values(borders, values[:, r]), return_counts=True)
                history = histories[r]
                history.add(plan, hour * HOUR, BaselineSlice("", "", "", at, n, 0.0, 0.0, (0.0, 0.0), per_hour, 0))
        self.per_hour, end = per_hour, weeks * WEEK
        self.season = np.zeros((WEEK // HOUR, len(self.rows), 2))
        for hour in range(WEEK // HOUR):
            for r, (history, first) in enumerate(zip(histories, firsts, strict=True)):
                found = history.baseline_for(plan, first, end + hour * HOUR, HOUR)
                assert found is not None
                self.season[hour, r] = history.expected_score(found, self.scores[r]), weight_of(found)

    def false_alarms(self, source: Source, count: int, keep: bool = True) -> int:
        """As `Learned.false_alarms`, with every pane held against its hour."""
        alarms, n = 0, np.full(len(self.rows), float(self.pane))
        for hour in range(count // self.per_hour):
            scored = self._scored(source(self.per_hour))
            season = self.season[hour % len(self.season)]
            for s, ss in zip(self._panes(scored), self._panes(scored**2), strict=True):
                rang = self.cusums.step(self.rows, *seasonal(np.stack([n, s, ss]), season)).row
                alarms += len(rang)
                if len(rang):
                    self.cusums.restart(rang, keep)
        return alarms


class OneByOne:
    """The same CUSUMs on a single stream: learn from the first values, ring, learn anew from the next ones."""

    def __init__(self, arl0: float, first: int) -> None:
        self.arl0, self.first = arl0, first
        self.waiting: list[float] = []
        self.learned: LearnedRows | None = None

    def update(self, value: float) -> bool:
        """Take in a value; whether it rings."""
        if self.learned is None:
            self.waiting.append(value)
            if len(self.waiting) == self.first:
                self.learned, self.waiting = LearnedRows(np.array(self.waiting)[:, None], self.arl0), []
            return False
        score = self.learned.scores[0][bin_values(self.learned.borders[0], np.array([value]))]
        rang = len(self.learned.cusums.step(self.learned.rows, np.ones(1), score, score**2).row) > 0
        if rang:
            self.learned = None
        return rang
