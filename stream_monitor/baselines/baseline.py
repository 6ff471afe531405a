"""The baseline of one measure in one segment: its first N values, or a pinned baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

from stream_monitor.profiles.bins import BINS, BinEdges, bin_values, just_below, make_edges, point_bins
from stream_monitor.profiles.categories import keep_order
from stream_monitor.profiles.numeric_table import merge_moments
from stream_monitor.types import F64, I64

MAX_CATEGORIES = BINS - 2
"""Most categories that a baseline counts by name. The rest shares one bin, and new categories share another."""
LEAST_NAMED = 10
"""Fewest values of a named category in a baseline with more categories. The counts of rarer ones are mostly chance."""
GROUPS = 10
"""Groups of bins that window tests compare."""


class Baseline(msgspec.Struct):
    """Counts on the measure's edges (numeric) or by category; active from `since` (epoch ms) on."""

    name: str
    since: int
    events: int
    """Events seen while the baseline was being built; events - values = missing."""
    kinds: dict[str, int]
    """Values by kind: numeric, categorical, other."""
    n: int = 0
    """Values that are counted; 0 where all are arrays or objects: only missing values and types are judged then."""
    mean: float = 0.0
    m2: float = 0.0
    low: float = 0.0
    high: float = 0.0
    counts: np.ndarray | None = None
    categories: dict[str, int] | None = None
    rest: int = 0
    least: int = 0
    """All categories with at least so many values are named; 0 if all are, or in a baseline of a former version."""
    weights: dict[str, int] = {}
    """Number of values of each segment; only in the baseline of segment `all`."""
    left_out: int = 0
    """Values that came on former edges while the baseline was being built; they are in none of its counts."""
    approximate: bool = False
    """Its counts were moved to other edges than those on which they were counted."""
    pinned: bool = False
    """The baseline is pinned: no recent baseline replaces it."""
    previous: Baseline | None = None
    """The baseline that was active before; it judges the windows that began before `since`."""

    @property
    def std(self) -> float:
        """Standard deviation; exactly 0 for a constant."""
        return float(np.sqrt(self.m2 / self.n)) if self.n and self.low < self.high else 0.0


class Baselines(msgspec.Struct):
    """All baselines of a timeline: those that all versions of a model share, and those pinned for one version."""

    shared: dict[tuple[str, str], Baseline] = {}
    """By (segment, measure)."""
    by_version: dict[tuple[str, str, str], Baseline] = {}
    """By (version, segment, measure)."""

    def active_at(self, group: tuple[str, str], measure: str, start: int) -> Baseline | None:
        """The baseline of a (version, segment) that judges a window beginning at `start` (epoch ms)."""
        version, segment = group
        baseline = self.by_version.get((version, segment, measure)) or self.shared.get((segment, measure))
        if baseline is not None and baseline.since > start:
            baseline = baseline.previous
        return baseline if baseline is not None and baseline.since <= start else None

    def measures(self, groups: Sequence[tuple[str, str]]) -> list[list[str]]:
        """By (version, segment): the measures with a baseline, sorted."""
        shared, pinned = defaultdict[str, set[str]](set), defaultdict[tuple[str, str], set[str]](set)
        for segment, measure in self.shared:
            shared[segment].add(measure)
        for version, segment, measure in self.by_version:
            pinned[version, segment].add(measure)
        return [sorted(shared[group[1]] | pinned[group]) for group in groups]

    def pin(self, version: str | None, segment: str, measure: str, baseline: Baseline) -> None:
        """Make a baseline active; the one that it replaces still judges the windows that have begun."""
        if version is None:
            former = self.shared.get((segment, measure))
            self.shared[segment, measure] = baseline
        else:
            former = self.by_version.get((version, segment, measure)) or self.shared.get((segment, measure))
            self.by_version[version, segment, measure] = baseline
        if former is not None and former.since < baseline.since:
            baseline.previous = msgspec.structs.replace(former, previous=None)


class PaneCounts(NamedTuple):
    """The panes of a baseline, oldest first, as sparse bins.

    `n[i]` values in bin `at[i]` of the pane that starts at `starts[pane[i]]` (epoch ms).
    """

    starts: I64
    pane: I64
    at: I64
    n: I64

    @classmethod
    def none(cls) -> PaneCounts:
        """The panes of a baseline whose panes are not known: none."""
        nothing = np.zeros(0, np.int64)
        return cls(nothing, nothing, nothing, nothing)


TALLIES = 34
"""Windows whose categories are kept: those that `Dispersion.begin` compares, and a partial one at either end."""


class WindowTally(msgspec.Struct):
    """The categories of one window of a baseline that is being built; `start` is that of its first pane (epoch ms)."""

    start: int
    n: int = 0
    counts: dict[str, int] = {}


class BaselineBuilder(msgspec.Struct):
    """A baseline that is being built: the first N values, and the rest of the pane that contains the Nth."""

    events: int = 0
    other: int = 0
    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")
    values: list[np.ndarray] = []
    counts: np.ndarray | None = None
    values_of: list[int] = []
    """Start of the pane of each array in `values`."""
    binned: list[tuple[int, np.ndarray, np.ndarray]] = []
    """(start of the pane, bins, counts) of values that were counted on edges, if panes are kept."""
    categorical: int = 0
    categories: dict[str, int] = {}
    left_out: int = 0
    began: int | None = None
    """Start of the first pane with values (epoch ms); None in a builder of a former version, until values come."""
    events_before: int = 0
    """Events of the segment before that pane. A builder of a former version does not know them."""
    tallies: dict[int, list[WindowTally]] = {}
    """By window size: categories of the latest windows, oldest first; in all at most as many as there are values."""

    @property
    def total(self) -> int:
        """Values of any kind."""
        return self.n + self.categorical + self.other

    def add_moments(self, n: int, mean: float, m2: float, ends: tuple[float, float]) -> None:
        """Merge a numeric row's moments."""
        merged = merge_moments((self.n, self.mean, self.m2), (n, mean, m2))
        self.n, self.mean, self.m2 = int(merged[0]), float(merged[1]), float(merged[2])
        self.low, self.high = min(self.low, ends[0]), max(self.high, ends[1])

    def add_only_values(self, pane: int, parts: list[F64], n: int) -> None:
        """Keep the raw values of a row of `n` values.

        Its other values were counted on former edges; the builder leaves them out and counts them in `left_out`.
        """
        values = np.concatenate(parts) if parts else np.zeros(0)
        self.left_out += n - len(values)
        if len(values):
            mean = float(values.mean())
            ends = float(values.min()), float(values.max())
            self.add_moments(len(values), mean, float(((values - mean) ** 2).sum()), ends)
            self.add_values(pane, parts)

    def add_values(self, pane: int, parts: list[F64]) -> None:
        """Keep the raw values of a numeric row of the pane that starts at `pane`."""
        self.values.extend(parts)
        self.values_of.extend([pane] * len(parts))

    def add_counts(self, pane: int, at: I64, n: I64, keep: bool) -> None:
        """Merge a numeric row's bins; with `keep` the builder also keeps them by pane."""
        if self.counts is None:
            self.counts = np.zeros(BINS, np.int64)
        self.counts[at] += n
        if keep:
            self.binned.append((pane, at, n))

    def add_categories(self, names: Iterable[str], counts: Iterable[int], n: int) -> None:
        """Merge a categorical row of `n` values: its categories and their counts."""
        self.categorical += n
        for category, count in zip(names, counts, strict=True):
            self.categories[category] = self.categories.get(category, 0) + count

    def tally(self, pane: int, sizes: Iterable[int], row: tuple[Sequence[str], Sequence[int], int]) -> None:
        """Count a categorical row (categories, counts, n) of the pane that starts at `pane` in its windows."""
        names, counts, n = row
        for size in sizes:
            kept = self.tallies.setdefault(size, [])
            if not kept or kept[-1].start // size != pane // size:
                kept.append(WindowTally(pane))
                del kept[:-TALLIES]
            newest = kept[-1]
            newest.n += n
            for category, count in zip(names, counts, strict=True):
                newest.counts[category] = newest.counts.get(category, 0) + count

    @property
    def numeric(self) -> bool:
        """Whether most of the values that are numbers or categories are numbers."""
        return self.n >= self.categorical and self.n > 0

    def edges(self, limits: tuple[float, ...], ordinal: int = 1) -> BinEdges:
        """Compute edges from the values so far."""
        return make_edges(np.concatenate(self.values), limits, ordinal)

    def finish(self, name: str, since: int, edges: BinEdges | None) -> Baseline:
        """The finished baseline, active from `since` on; `edges` is None for a categorical measure."""
        kinds = {"numeric": self.n, "categorical": self.categorical, "other": self.other}
        baseline = Baseline(name, since, self.events, kinds, left_out=self.left_out)
        if self.numeric and self.n and edges is not None:
            baseline.n, baseline.mean, baseline.m2 = self.n, self.mean, self.m2
            baseline.low, baseline.high = self.low, self.high
            baseline.counts = self._binned(edges.edges)
        elif self.categorical:
            baseline.n = self.categorical
            baseline.categories, baseline.least = named_categories(self.categories)
            baseline.rest = self.categorical - sum(baseline.categories.values())
        elif self.other:
            baseline.categories = {}
        return baseline

    def panes(self, borders: F64) -> PaneCounts:
        """The values so far, pane by pane; complete only if all bins were kept."""
        if not self.values and not self.binned:
            return PaneCounts.none()
        sizes = [len(values) for values in self.values]
        start = [np.repeat(np.array(self.values_of, np.int64), sizes)]
        at = [bin_values(borders, np.concatenate(self.values))] if self.values else []
        n = [np.ones(sum(sizes), np.int64)]
        for pane, bins, counts in self.binned:
            start.append(np.full(len(bins), pane))
            at.append(bins)
            n.append(counts)
        starts, number = np.unique(np.concatenate(start), return_inverse=True)
        return PaneCounts(starts, number, np.concatenate(at), np.concatenate(n))

    def category_windows(self, size: int, baseline: Baseline) -> PaneCounts:
        """The latest windows of `size` ms, on the bins of `category_counts`."""
        tallies = self.tallies.get(size, [])
        tables = [category_counts(baseline, tally.counts, tally.n)[1] for tally in tallies]
        window, at = np.nonzero(np.stack(tables)) if tables else (np.zeros(0, np.int64), np.zeros(0, np.int64))
        n = np.concatenate([table[table > 0] for table in tables]) if tables else np.zeros(0, np.int64)
        return PaneCounts(np.array([tally.start for tally in tallies], np.int64), window, at, n)

    def _binned(self, borders: F64) -> I64:
        counts = np.zeros(BINS, np.int64) if self.counts is None else self.counts.copy()
        if self.values:
            counts += np.bincount(bin_values(borders, np.concatenate(self.values)), minlength=BINS)
        return counts


def rebin(counts: I64, old: F64, new: F64, ends: tuple[float, float]) -> I64:
    """Move counts from the edges `old` to the edges `new`; the values of each old bin count as evenly spread in it.

    An atom of the new edges may be an edge of old ones that give it no bin of its own. The values of the old bin that
    ends there then count as that atom. `ends` are the least and the largest value. The total stays exactly the same.
    """
    low, high = ends
    own = np.isin(old, new[point_bins(new)[:-1]]) & ~point_bins(old)[:-1]
    atoms = np.flatnonzero(own)
    old, counts = np.insert(old, atoms, just_below(old[atoms])), np.insert(counts, atoms, 0)
    upper = np.concatenate([np.clip(old, low, high), [high]])
    below = np.cumsum(counts[: len(old) + 1])
    last = np.append(
        upper[1:] > upper[:-1], True
    )  # of equal positions keep the last one, which has all values below it
    moved = np.zeros(BINS, np.int64)
    cuts = np.rint(np.interp(new, np.append(low, upper[last]), np.append(0, below[last]), left=0.0)).astype(np.int64)
    cuts[new >= high] = below[-1]
    moved[: len(new) + 1] = np.diff(np.concatenate([[0], cuts, [below[-1]]]))
    return moved


def named_categories(counts: dict[str, int]) -> tuple[dict[str, int], int]:
    """The categories that a baseline names, most frequent first, ties by name, and `Baseline.least`.

    They are all, if there are at most `MAX_CATEGORIES`. Of more they are those above a count, at least `LEAST_NAMED`,
    that leaves at most so many: a bound on counts, and not on names, lets `expected_counts` correct the choice.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= MAX_CATEGORIES:
        return dict(ordered), 0
    least = max(ordered[MAX_CATEGORIES][1] + 1, LEAST_NAMED)
    return {name: count for name, count in ordered if count >= least}, least


def expected_counts(baseline: Baseline, base: I64) -> I64 | F64:
    """What a categorical baseline says of other values, on the bins of `category_counts`; the total stays the same.

    The named categories are those that were frequent in a sample. In other values they have fewer. The mean of what
    the categories with at least r of n values have in other values is what those with at least r + 1 had, by Good
    (1953) and Turing. The difference goes to the rest, or if all are named (r = 1) to new categories.
    """
    names, total = baseline.categories or {}, int(base.sum())
    least = baseline.least or (min(names.values(), default=1) if baseline.rest else 1)
    moved = least * sum(count == least for count in names.values())
    named = total - baseline.rest
    if not moved or not named:
        return base
    expected = base.astype(np.float64)
    expected[: len(names)] *= (named - moved) / named
    expected[BINS - 2 if baseline.rest else BINS - 1] += moved
    return expected


@lru_cache(maxsize=1_024)
def category_order(names: tuple[str, ...]) -> I64:
    """(BINS,) the bins of `category_counts` in an order that does not depend on counts: by the hash of their names.

    Tests merge neighbours to groups. If neighbours had similar counts of one sample, the groups of the largest would
    be those that chance had made large. Bins without a name come last. Up to `GROUPS` names keep their order.
    """
    bins = np.arange(BINS)
    if len(names) <= GROUPS:
        return bins
    hashes = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in names], np.uint64)
    named = np.lexsort((bins[: len(names)], hashes))
    return np.concatenate([named, [BINS - 2, BINS - 1], bins[len(names) : BINS - 2]])


def category_counts(baseline: Baseline, counts: dict[str, int], n: int) -> tuple[I64, I64]:
    """Bin counts of a categorical baseline and of a window: the baseline's categories, its rest, new categories.

    If the baseline has a rest, categories that it does not name count as that rest, because they may not be new.
    """
    names = baseline.categories or {}
    base, now = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    base[: len(names)] = list(names.values())
    base[BINS - 2] = baseline.rest
    now[: len(names)] = [counts.get(name, 0) for name in names]
    now[BINS - 2 if baseline.rest else BINS - 1] = n - int(now.sum())
    return base, now


def keep_categories(counts: dict[str, int], known: frozenset[str], cap: int) -> dict[str, int]:
    """The known categories, and of the others the `cap` with the smallest hashes; their order has no effect."""
    if len(counts) <= cap:
        return counts
    names = list(counts)
    order = keep_order(names, known)
    return {names[i]: counts[names[i]] for i in order[: cap + sum(name in known for name in names)].tolist()}


def as_evidence(baseline: Baseline) -> dict[str, Any]:
    """Moments of a baseline for an alert's evidence."""
    if baseline.counts is None:
        return {"n": baseline.n}
    figures = {"n": baseline.n, "mean": baseline.mean, "std": baseline.std}
    return figures | {"min": baseline.low, "max": baseline.high} | moved_of(baseline)


def moved_of(baseline: Baseline) -> dict[str, bool]:
    """`approximate`, if the baseline's counts were moved to other edges; for an alert's evidence."""
    return {"approximate": True} if baseline.approximate else {}
