"""Recent baselines of a measure: counts of slices of event time, and the baselines that are merged from them.

A slice is an hour (`hour_of_week`) or a 28th of the span (`rolling`). Slices are kept in lines: 168 lines, one for each
hour of the week in UTC, or a single line. A line keeps the newest `depth` slices that the judge took in. So memory is
bounded, and a measure keeps its baseline while the judge refuses its slices. Rolling slices count on all bins of the
measure's edges. Slices of hours are many, and count on at most `GROUPS` groups of bins.

Memory of a (segment, measure): 22 kB for `rolling` with 7 days and a gap of one day; for `hour_of_week` 25 kB in the
first week, and 94 kB with all four weeks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.config.detection import BaselineSettings
from stream_monitor.config.durations import DAY, HOUR, WEEK, format_duration
from stream_monitor.profiles.bins import BINS
from stream_monitor.types import F64, I64, Bool

SLICES = 28
"""Slices in the span of a rolling baseline."""
HOURS = WEEK // HOUR
WEEKS = 4
"""Slices kept of each hour of the week; one, two or four of them form a baseline."""
LEAST_VALUES = 100
"""Fewest values of a recent baseline. If the hour of the week has fewer, that hour of all days judges; if this has
fewer, the first baseline."""
BODY, TAIL = 16, 5
GROUPS = BODY + 2 * TAIL
"""Groups of bins of a numeric measure: `BODY` equal shares of the first baseline, `TAIL` groups beyond either end."""
NAMED = GROUPS - 2
"""Categories of a categorical measure that are counted by name; others share a bin, new ones another."""
LONG = 10_000.0
"""Values; a CUSUM reaches its threshold in fewer."""
MOST = 2**32 - 1
EMPTY = -1


class SlicePlan(msgspec.Struct, frozen=True):
    """The rules by which slices are kept and merged; times in ms."""

    kind: Literal["rolling", "hour_of_week"]
    slice: int
    lines: int
    depth: int
    """Slices that a line keeps."""
    keep: int
    """Most slices of a line that a baseline is merged from: the newest."""
    gap: int
    least: int
    """Values from which a rolling baseline judges before its span is full."""
    span: int


def plan_of(settings: BaselineSettings, pane: int) -> SlicePlan | None:
    """The plan of these settings, for panes of `pane` ms; None if the settings ask for no recent baseline."""
    if settings.kind == "rolling":
        size = -(-settings.span // (SLICES * pane)) * pane
        keep = -(-settings.span // size)
        depth = keep - (-settings.gap // size) + 1
        return SlicePlan("rolling", size, 1, depth, keep, settings.gap, settings.first, settings.span)
    if settings.kind == "hour_of_week":
        return SlicePlan("hour_of_week", HOUR, HOURS, WEEKS, WEEKS, 0, LEAST_VALUES, 0)
    return None


class BaselineSlice(msgspec.Struct):
    """One (version, segment, measure) in one slice, on the baseline's bins as sparse counts."""

    version: str
    segment: str
    measure: str
    at: np.ndarray
    n: np.ndarray
    mean: float
    m2: float
    ends: tuple[float, float]
    """Least and largest value."""
    events: int
    """Events of the segment; those without a value of any kind are missing."""
    other: int
    """Values of another kind than the baseline's."""


class MergedBaseline(NamedTuple):
    """A baseline that was merged from a history."""

    baseline: Baseline
    counts: I64
    """(BINS,) its counts; of a categorical measure on the bins of `category_counts`."""
    to: I64
    """(BINS,) for each bin of a window, the bin to which its count moves before the comparison."""
    slices: int
    """Number of slices from which each of its hours was merged."""


class SliceHistory(msgspec.Struct):
    """The slices of a (segment, measure). L lines, D slices a line so far, G groups."""

    to: np.ndarray
    """(BINS,) the bin in which each bin is counted: the one that stands for its group."""
    ends: np.ndarray
    """(G,) the bin that stands for each group, ascending."""
    weights: np.ndarray
    """(BINS,) share of its group that a bin had in the measure's first baseline."""
    stamp: np.ndarray
    """(L, D) start of each slice, epoch ms; `EMPTY` where there is none."""
    counts: np.ndarray
    """(L, D, G + 2) values by group, events, values of other kinds; never above `MOST`."""
    moments: np.ndarray
    """(L, D, 2) mean and centred sum of squares."""
    low: float = float("inf")
    high: float = float("-inf")
    begun: int = 0
    """Start of the first slice ever taken in, epoch ms; `EMPTY` before."""

    @classmethod
    def of(cls, plan: SlicePlan, first: Baseline) -> SliceHistory:
        """An empty history; the measure's first baseline determines the groups of bins."""
        base = first.counts if first.counts is not None else np.ones(BINS, np.int64)
        to = np.arange(BINS)
        if plan.kind == "hour_of_week":
            to = numeric_groups(base) if first.counts is not None else category_groups()
        ends = np.unique(to)
        whole, size = np.bincount(to, base, BINS)[to], np.bincount(to, minlength=BINS)[to]
        weights = np.where(whole > 0, base / np.maximum(whole, 1), 1 / size)
        stamp, shape = np.full((plan.lines, 1), EMPTY, np.int64), (plan.lines, 1)
        counts = np.zeros((*shape, len(ends) + 2), np.uint32)
        return cls(to, ends, weights, stamp, counts, np.zeros((*shape, 2)), begun=EMPTY)

    def slice_count(self, plan: SlicePlan, start: int) -> int:
        """Number of slices in the line of the slice that starts at `start`."""
        return int((self.stamp[line_of(plan, start)] != EMPTY).sum())

    def add(self, plan: SlicePlan, start: int, part: BaselineSlice) -> None:
        """Take in a slice; slices of several versions with the same start are merged."""
        line = line_of(plan, start)
        self.begun = start if self.begun == EMPTY else self.begun
        same = np.flatnonzero(self.stamp[line] == start)
        place = int(same[0]) if len(same) else self._place(plan, line)
        if not len(same):
            self.stamp[line, place], self.counts[line, place], self.moments[line, place] = start, 0, 0.0
        counts = np.append(self._grouped(part.at, part.n), [part.events, part.other])
        before, n = int(self.counts[line, place, :-2].sum()), int(part.n.sum())
        mean, m2 = self.moments[line, place].tolist()
        apart, total = part.mean - mean, max(before + n, 1)
        self.moments[line, place] = mean + apart * n / total, m2 + part.m2 + apart * apart * before * n / total
        self.counts[line, place] = np.minimum(self.counts[line, place].astype(np.int64) + counts, MOST)
        self.low, self.high = min(self.low, part.ends[0]), max(self.high, part.ends[1])

    def _grouped(self, at: I64, n: I64) -> I64:
        return np.asarray(np.bincount(self.to[at], n, BINS)[self.ends].astype(np.int64))

    def _place(self, plan: SlicePlan, line: int) -> int:
        """The place of a new slice in its line: a free one, an added one, or that of the oldest slice."""
        free = np.flatnonzero(self.stamp[line] == EMPTY)
        if len(free):
            return int(free[0])
        size = int(self.stamp.shape[1])
        if size == plan.depth:
            return int(self.stamp[line].argmin())
        more = min(size, plan.depth - size) if plan.lines == 1 else 1
        self.stamp = np.pad(self.stamp, ((0, 0), (0, more)), constant_values=EMPTY)
        self.counts = np.pad(self.counts, ((0, 0), (0, more), (0, 0)))
        self.moments = np.pad(self.moments, ((0, 0), (0, more), (0, 0)))
        return size

    # --- baselines ---

    def baseline_for(self, plan: SlicePlan, first: Baseline, start: int, size: int) -> MergedBaseline | None:
        """The baseline that judges a window of `size` ms beginning at `start`; None: the first baseline does."""
        for chosen in choices(plan, self.stamp, self.begun, (start, size)):
            merged = self._merge(first, chosen)
            if merged is not None and plan.kind == "rolling":
                full = merged.slices == plan.keep  # a measure with little traffic never has more values
                return merged if full or merged.baseline.n >= plan.least else None
            if merged is not None:
                return merged
        return None

    def _merge(self, first: Baseline, chosen: Chosen) -> MergedBaseline | None:
        """Merge the chosen slices; None if they hold too few values."""
        name, lines, hours, meant = chosen
        counts = self.counts[lines][meant].astype(np.int64)
        total, sizes = counts.sum(axis=0), counts[:, :-2].sum(axis=1)
        n = int(sizes.sum())
        if n < LEAST_VALUES:
            return None
        fine = np.zeros(BINS, np.int64)
        fine[self.ends] = total[:-2]
        baseline = self._baseline(first, name, fine, total[-2:])
        baseline.since = int(self.stamp[lines][meant].min())
        if first.counts is not None:
            mean, m2 = self.moments[lines][meant].T
            baseline.mean = float((sizes * mean).sum() / n)
            baseline.m2 = float((m2 + sizes * (mean - baseline.mean) ** 2).sum())
        return MergedBaseline(baseline, fine, self.to, max(len(counts) // hours, 1))

    def _baseline(self, first: Baseline, name: str, fine: I64, rest: I64) -> Baseline:
        events, other = (int(x) for x in rest)
        n, numeric = int(fine.sum()), first.counts is not None
        kinds = {"numeric": n if numeric else 0, "categorical": 0 if numeric else n, "other": other}
        baseline = Baseline(name, 0, max(events, n + other), kinds, n, low=self.low, high=self.high)
        if numeric:
            baseline.counts = fine
        else:
            names = list(first.categories or ())
            baseline.categories = dict(zip(names, fine.tolist(), strict=False))
            baseline.rest = first.rest
        return baseline

    def expected_score(self, found: MergedBaseline, scores: F64) -> float:
        """Mean score of the values of a baseline merged from this history; `scores` (BINS,) are those of each bin."""
        of_group = np.bincount(self.to, self.weights * scores, BINS)
        return float((found.counts * of_group).sum() / found.baseline.n)


class Chosen(NamedTuple):
    """Slices from which the baseline of a window may be merged."""

    name: str
    lines: list[int]
    hours: int
    """Number of different hours in the lines."""
    meant: Bool
    """(lines, slices) whether a slice of these lines is chosen."""


def choices(plan: SlicePlan, stamp: I64, begun: int, span: tuple[int, int]) -> Iterator[Chosen]:
    """Yield the choices of slices for a window (start, size), best first; the first with enough values judges.

    `stamp` (lines, slices) holds the starts of all slices; `begun` is the start of the first slice ever taken in.
    """
    start, size = span
    if plan.kind == "rolling":
        newest = _newest(plan, stamp[[0]], (plan.keep, EMPTY, start - plan.gap))
        yield Chosen(f"rolling-{format_duration(plan.span)}", [0], 1, newest)
        return
    if size > WEEK:
        return
    hours = range(start // HOUR, -(-(start + size) // HOUR))
    lines = sorted({hour % HOURS for hour in hours})
    weeks = int(((stamp[lines] != EMPTY) & (stamp[lines] + plan.slice <= start)).sum(axis=1).max())
    if len(lines) > 1:  # only whole weeks have all of these hours
        weeks = min(weeks, (start - begun) // WEEK)
    if weeks:
        used = 1 << max(weeks.bit_length() - 1, 0)
        newest = _newest(plan, stamp[lines], (used, EMPTY, start))
        yield Chosen(f"hour-of-week-{used}w", lines, len(lines), newest)
    yield _of_day(plan, stamp, begun, (hours, start))


def _of_day(plan: SlicePlan, stamp: I64, begun: int, window: tuple[range, int]) -> Chosen:
    """The same hours of all days. A window of several hours uses whole days only, so that all hours weigh the same."""
    hours, start = window
    of_day = sorted({hour % 24 for hour in hours})
    lines = [24 * day + hour for day in range(7) for hour in of_day]
    days = (start - begun) // DAY if len(of_day) > 1 else plan.keep * 7
    since = start - start % HOUR - days * DAY if days < plan.keep * 7 else EMPTY
    return Chosen("hour-of-day", lines, len(of_day), _newest(plan, stamp[lines], (plan.keep, since, start)))


def _newest(plan: SlicePlan, stamp: I64, wanted: tuple[int, int, int]) -> Bool:
    """Which slices of each line are its newest; `wanted` is (most slices, earliest start, latest end)."""
    keep, since, until = wanted
    present = (stamp != EMPTY) & (stamp >= since) & (stamp + plan.slice <= until)
    younger = ((stamp[:, None, :] > stamp[:, :, None]) & present[:, None, :]).sum(axis=2)
    return np.asarray(present & (younger < keep))


def weight_of(found: MergedBaseline) -> float:
    """The weight of a value whose expected score is estimated from few slices.

    The mean of w slices differs from that of another slice by an error whose variance is a w-th of that of the slice's
    own mean. With the weight w / (w + 1), the variance over slices is that of values with a known mean. A CUSUM reaches
    its threshold in fewer values than a slice has. So we allow for half of the excess, and for less if there are more
    than `LONG` values.
    """
    slices = max(2.0 * found.slices, found.baseline.n / LONG)
    return slices / (slices + 1)


def seasonal(sums: F64, season: F64) -> F64:
    """Sums (3, R) of panes (n, scores, squared scores) after the expected score is subtracted from each value.

    `season` (R, 2) holds the expected score and the weight of a value.
    """
    (n, s, ss), (mean, weight) = sums, season.T
    return np.asarray(np.stack([n, s - n * mean, ss - 2 * mean * s + n * mean * mean]) * weight)


def numeric_groups(base: I64) -> I64:
    """(BINS,) the fullest bin of each bin's group, for a baseline's counts (BINS,); of equal bins the last.

    The fullest bin stands for its group, because the bins before or after an atom may be empty.
    """
    middle = (np.cumsum(base) - base / 2) / max(int(base.sum()), 1)
    group = np.minimum((middle * BODY).astype(np.int64), BODY - 1) + TAIL
    used = np.flatnonzero(base)
    low, high = (int(used[0]), int(used[-1])) if len(used) else (0, BINS - 1)
    bins = np.arange(BINS)
    group = np.where(bins < low, np.maximum(TAIL - (low - bins), 0), group)
    group = np.where(bins > high, np.minimum(BODY + TAIL - 1 + bins - high, GROUPS - 1), group)
    by_count = np.lexsort((bins, base, group))
    fullest = by_count[np.searchsorted(group[by_count], group, side="right") - 1]
    return np.asarray(fullest)


def category_groups() -> I64:
    """The same for categories, most frequent first: each of `NAMED` alone, all others together, new ones together."""
    bins = np.arange(BINS)
    return np.asarray(np.where((bins >= NAMED) & (bins < BINS - 1), BINS - 2, bins))


def line_of(plan: SlicePlan, start: int) -> int:
    """The line of a slice that starts at `start` (epoch ms)."""
    return start // plan.slice % plan.lines
