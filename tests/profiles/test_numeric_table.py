"""Rows of many panes, merged in compiled calls, are what plain arithmetic says, in however many calls they come."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.errors import FormatError
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.numeric_table import NumericTable, RowBatch, UnsortedRows

GROUPS, MEASURES = 2, 3
FIELDS = ("n", "mean", "m2", "low", "high", "counts")

Row = tuple[int, int, int, list[float], dict[int, int]]
"""Pane, group (-1: left out), measure, values, bins."""

rows_of = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(-1, GROUPS - 1), st.integers(0, MEASURES - 1),
        st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5),
        st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 9), max_size=3),
    ),
    max_size=12,
)  # fmt: skip


def stacked(rows: list[Row]) -> RowBatch:
    places = tuple(np.array([row[i] for row in rows], np.int64) for i in range(3))
    values = [np.array(row[3]) for row in rows]
    columns = (
        np.array([f(x) for x in values], float) for f in (np.mean, lambda x: ((x - x.mean()) ** 2).sum(), min, max)
    )
    ends = np.cumsum([0, *(len(row[4]) for row in rows)])
    bins = [np.array([x for row in rows for x in take(row[4])], np.int64) for take in (dict.keys, dict.values)]
    n = np.array([len(x) for x in values], np.int64)
    return RowBatch.of(places, (n, *columns), (ends[:-1], ends[1:], *bins))  # type: ignore[arg-type]


def table_of(calls: list[list[Row]]) -> NumericTable:
    table = NumericTable.empty(GROUPS, MEASURES)
    for rows in calls:
        table.add(stacked(rows))
    return table


def assert_same(one: NumericTable, other: NumericTable) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@settings(deadline=None)
@given(rows_of)
def test_a_table_holds_what_plain_arithmetic_says(rows: list[Row]) -> None:
    table, values, bins = table_of([rows]), defaultdict[Any, list[float]](list), defaultdict[Any, int](int)
    for _, group, measure, its, counts in rows:
        if group >= 0:
            values[group, measure] += its
            for place, n in counts.items():
                bins[group, measure, place] += n
    for at in np.ndindex(GROUPS, MEASURES):
        x = np.array(values.get(at, []))
        assert table.n[at] == len(x)
        if len(x):
            assert (table.low[at], table.high[at]) == (x.min(), x.max())
            assert table.mean[at] == pytest.approx(math.fsum(x) / len(x), rel=1e-9, abs=1e-9)
            assert table.m2[at] == pytest.approx(((x - x.mean()) ** 2).sum(), rel=1e-6, abs=1e-6)
    assert {at: int(table.counts[at]) for at in zip(*np.nonzero(table.counts), strict=True)} == bins


@settings(deadline=None)
@given(rows_of, st.sets(st.integers(0, 3)))
def test_in_how_many_calls_panes_come_does_not_show_in_the_last_digit(rows: list[Row], cuts: set[int]) -> None:
    """Not even where some panes came in several parts, and some in one."""
    rows = sorted(rows, key=lambda row: row[0])
    calls: list[list[Row]] = [[]]
    for pane in range(4):
        if pane in cuts:
            calls.append([])
        calls[-1] += [row for row in rows if row[0] == pane]
    assert_same(table_of([rows]), table_of(calls))


def test_a_pane_in_parts_does_not_change_the_last_digit_of_others() -> None:
    """Means are not always the quotient that n times them, by n, is."""
    rng, none = np.random.default_rng(1), np.zeros(0, np.int64)
    pane, mean = np.append(np.arange(200), 199), rng.normal(1e3, 1, 201)
    moments = rng.integers(30, 70, 201), mean, np.ones(201), mean - 1, mean + 1

    def rows(chosen: slice) -> RowBatch:
        at = pane[chosen], np.zeros_like(pane[chosen]), pane[chosen] % MEASURES
        bins = np.zeros_like(pane[chosen]), np.zeros_like(pane[chosen]), none, none
        return RowBatch.of(at, tuple(column[chosen] for column in moments), bins)  # type: ignore[arg-type]

    one, several = NumericTable.empty(GROUPS, MEASURES), NumericTable.empty(GROUPS, MEASURES)
    one.add(rows(slice(0, 201)))
    several.add(rows(slice(0, 199)))
    several.add(rows(slice(199, 201)))
    assert_same(one, several)


@settings(deadline=None)
@given(st.lists(st.integers(-1_000, 1_000), min_size=2, max_size=12), st.integers(1, 11))
def test_how_a_pane_was_split_does_not_show_in_sums_that_are_exact(values: list[int], cut: int) -> None:
    cut = min(cut, len(values) - 1)
    parts = [[float(x) for x in part] for part in (values[:cut], values[cut:])]
    several = table_of([[(0, 0, 0, part, {}) for part in parts], [(1, 0, 0, parts[0], {})]])
    whole = table_of([[(0, 0, 0, parts[0] + parts[1], {})], [(1, 0, 0, parts[0], {})]])
    np.testing.assert_allclose(several.mean, whole.mean, rtol=1e-15, atol=1e-12)
    np.testing.assert_allclose(several.m2, whole.m2, rtol=1e-12, atol=1e-9)


def test_a_constant_in_parts_has_no_spread() -> None:
    table = table_of([[(0, 0, 0, [0.1] * size, {}) for size in (3, 5, 7)], [(1, 0, 0, [0.1] * 2, {})]])
    assert (table.n[0, 0], table.mean[0, 0], table.m2[0, 0]) == (17, 0.1, 0.0)


@settings(deadline=None)
@given(rows_of, rows_of)
def test_tables_merge(ours: list[Row], theirs: list[Row]) -> None:
    merged, other, both = table_of([ours]), table_of([theirs]), table_of([ours, theirs])
    before = [getattr(other, name).copy() for name in FIELDS]
    merged.merge(other)
    for name, was in zip(FIELDS, before, strict=True):
        np.testing.assert_array_equal(getattr(other, name), was)
        np.testing.assert_allclose(getattr(merged, name), getattr(both, name), rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "bins",
    [([0, 1], [1, 3], [0, 1], [1, 1]), ([0, 1], [1, 0], [0, 1], [1, 1]), ([0, -1], [1, 1], [0, 1], [1, 1]),
     ([0, 1], [1, 2], [0, BINS], [1, 1]), ([0, 1], [1, 2], [0, -1], [1, 1]), ([0, 1], [1, 2], [0, 1], [1])],
)  # fmt: skip
def test_bins_that_are_not_there_are_a_format_error(bins: tuple[list[int], ...]) -> None:
    places, moments = (np.array([0, 0]), np.array([0, 0]), np.array([0, 1])), (np.ones(2, int), *np.zeros((4, 2)))
    with pytest.raises(FormatError):
        RowBatch.of(places, moments, tuple(np.array(column, np.int64) for column in bins))  # type: ignore[arg-type]


def test_a_table_whose_arrays_do_not_fit_is_a_format_error() -> None:
    """It may have been read, and compiled code would write beyond it."""
    rows = stacked([(0, 1, 2, [1.0], {BINS - 1: 1})])
    whole = NumericTable.empty(2, 3)
    whole.add(rows)
    short = np.zeros((2, 2))
    for broken in (
        NumericTable.empty(1, 3),
        NumericTable.empty(2, 2),
        msgspec.structs.replace(whole, mean=short),
        msgspec.structs.replace(whole, counts=np.zeros((2, 3, 1), np.int64)),
    ):
        with pytest.raises(FormatError):
            broken.add(rows)
        with pytest.raises(FormatError):
            broken.merge(whole)
    with pytest.raises(FormatError):
        whole.merge(msgspec.structs.replace(whole, mean=short))


def loose(rows: list[Row]) -> UnsortedRows:
    group, measure = (np.array([row[i] for row in rows], np.int64) for i in (1, 2))
    values = [np.array(row[3]) for row in rows]
    moments = np.array([(len(x), x.mean(), ((x - x.mean()) ** 2).sum(), x.min(), x.max()) for x in values]).T
    ends = np.cumsum([0, *(len(row[4]) for row in rows)])
    at, n = (np.array([x for row in rows for x in take(row[4])], np.int64) for take in (dict.keys, dict.values))
    return UnsortedRows(group, measure, moments.reshape(5, len(rows)), ends[:-1], ends[1:], at, n)


@settings(deadline=None)
@given(rows_of.filter(bool), st.integers(0, 12))
def test_rows_of_a_pane_are_each_there_once_and_tell_all_values(rows: list[Row], cut: int) -> None:
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    merged = UnsortedRows.of([loose(part) for part in parts]).merged(MEASURES)
    values, bins = defaultdict[Any, list[float]](list), defaultdict[Any, dict[int, int]](dict)
    for _, group, measure, xs, counted in rows:
        if group >= 0:
            values[group, measure] += xs
            for at, n in counted.items():
                bins[group, measure][at] = bins[group, measure].get(at, 0) + n
    assert [*zip(merged.group.tolist(), merged.measure.tolist(), strict=True)] == sorted(values)
    for row, key in enumerate(sorted(values)):
        x = np.array(values[key])
        assert (merged.n[row], merged.low[row], merged.high[row]) == (len(x), x.min(), x.max())
        assert merged.mean[row] == pytest.approx(x.mean(), rel=1e-9, abs=1e-9)
        assert merged.m2[row] == pytest.approx(((x - x.mean()) ** 2).sum(), rel=1e-6, abs=1e-6)
        mine = slice(merged.bin_ptr[row], merged.bin_ptr[row + 1])
        assert [*zip(merged.bin_at[mine].tolist(), merged.bin_n[mine].tolist(), strict=True)] == sorted(
            bins[key].items()
        )


def test_a_row_whose_bins_are_not_there_is_refused_before_compiled_code_looks() -> None:
    good = loose([(0, 0, 0, [1.0], {3: 2}), (0, 0, 1, [2.0], {})])
    for broken in (
        {"last": np.array([1, 9])}, {"first": np.array([-1, 1])}, {"bin_at": np.array([BINS])},
        {"first": np.array([0]), "last": np.array([1])}, {"moments": good.moments[:, :1]}, {"measure": np.array([0])},
    ):  # fmt: skip
        with pytest.raises(FormatError):
            dataclasses.replace(good, **broken).merged(MEASURES)
