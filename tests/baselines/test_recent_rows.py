"""Slices of rows: which are kept, and which of them judge a window."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.baselines.recent import SlicePlan, plan_of
from stream_monitor.baselines.recent_rows import LEAST_ROWS, SLICE_ROWS, RowsHistory
from stream_monitor.baselines.sampled_rows import ALL_HASHES, BASELINE_ROWS, Rows
from stream_monitor.config.detection import BaselineSettings
from stream_monitor.config.durations import DAY, HOUR, WEEK
from stream_monitor.detect.windows.multivariate import TESTS, matrix_of
from tests.streams import MONDAY


def plan(kind: str = "rolling", first: int = 1_000) -> SlicePlan:
    made = plan_of(BaselineSettings.model_validate({"kind": kind, "first": first}), HOUR)
    assert made is not None
    return made


def rows(seed: int, count: int, value: float = 0.0, upto: int = ALL_HASHES) -> Rows:
    rng = np.random.default_rng(seed)
    hashes = np.sort(rng.integers(0, 2**63, count, np.uint64))
    values = value + rng.normal(size=(2, count))
    return Rows(hashes, upto, ["a", "b"], values, [], np.zeros((0, count), np.int64), [])


def test_a_rolling_baseline_is_the_newest_span_that_ended_a_gap_before() -> None:
    rolling, history = plan(), RowsHistory()
    for i in range(60):
        history.add(rolling, i * rolling.slice, [rows(i, 100, i)])
    start = 60 * rolling.slice
    found = history.baseline_for(rolling, (start, HOUR))
    assert found is not None and found.name == "rolling-7d"
    oldest = start - rolling.gap - rolling.keep * rolling.slice
    assert found.since == oldest and len(found.rows) == BASELINE_ROWS
    assert found.rows.number("a").mean() == pytest.approx(oldest / rolling.slice + 13.5, abs=0.5)


def test_a_line_keeps_its_newest_slices_and_a_slice_few_rows() -> None:
    for kind in ("rolling", "hour_of_week"):
        made, history = plan(kind), RowsHistory()
        for i in range(made.depth + 5):
            history.add(made, i * made.slice * made.lines, [rows(i, 300), rows(i + 1_000, 300)])
        [(_, kept)] = history.lines.items()
        assert [one.start for one in kept] == [i * made.slice * made.lines for i in range(5, made.depth + 5)]
        assert {len(one.rows) for one in kept} == {SLICE_ROWS[kind]}


def test_a_rolling_baseline_waits_for_enough_rows_or_for_all_slices() -> None:
    rolling, history = plan(), RowsHistory()
    assert history.baseline_for(rolling, (HOUR, HOUR)) is None
    for i in range(4):
        history.add(rolling, i * rolling.slice, [rows(i, 100)])
    assert history.baseline_for(rolling, (4 * rolling.slice + rolling.gap, HOUR)) is None
    history.add(rolling, 4 * rolling.slice, [rows(9, 100)])
    assert history.baseline_for(rolling, (5 * rolling.slice + rolling.gap, HOUR)) is not None
    quiet = RowsHistory()
    for i in range(rolling.keep):
        start = i * rolling.slice
        quiet.add(rolling, start, [rows(i, 5)])
        found = quiet.baseline_for(rolling, (start + rolling.slice + rolling.gap, HOUR))
        assert (found is not None) == (i == rolling.keep - 1)


def test_an_hour_is_held_against_the_same_hours_and_before_that_against_those_of_all_days() -> None:
    hourly, history = plan("hour_of_week"), RowsHistory()
    named = []
    for day in range(30):
        for hour in (9, 10):
            start = MONDAY + day * DAY + hour * HOUR
            found = history.baseline_for(hourly, (start, HOUR))
            named.append(found and found.name)
            if found is not None:
                assert found.rows.number("a").mean() == pytest.approx(hour, abs=0.5)
            history.add(hourly, start, [rows(100 * day + hour, 80, hour)])
    assert named[0] is None and named[2 * 3] == "hour-of-day"
    assert named[2 * 14] == "hour-of-week-2w" and named[2 * 28] == "hour-of-week-4w"
    assert history.baseline_for(hourly, (MONDAY + 40 * DAY, 2 * WEEK)) is None
    assert history.baseline_for(hourly, (MONDAY + 40 * DAY + 3 * HOUR, HOUR)) is None


def test_rows_of_busy_and_quiet_slices_have_the_same_chance() -> None:
    """A slice that was cut at a hash bounds what the others bring."""
    rolling, history = plan(first=100), RowsHistory()
    history.add(rolling, 0, [rows(1, 200, upto=2**61)])
    history.add(rolling, rolling.slice, [rows(2, 200)])
    found = history.baseline_for(rolling, (2 * rolling.slice + rolling.gap, HOUR))
    assert found is None or int(found.rows.hash.max()) <= 2**61


@pytest.mark.parametrize("base", [LEAST_ROWS, 4 * SLICE_ROWS["hour_of_week"], 500])
def test_few_rows_keep_the_level_without_drift(base: int) -> None:
    """With tolerance 0, of 150 windows; a level of .05 gives 7.5, and more than 17 in one of 1,000 suites."""
    rejected = dict.fromkeys(TESTS, 0)
    for seed in range(150):
        data = matrix_of(rows(2 * seed, base), rows(2 * seed + 1, 600))
        for name, test in TESTS.items():
            rejected[name] += test(data, 0.0).p <= 0.05
    assert max(rejected.values()) <= 17
