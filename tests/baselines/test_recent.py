from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.baselines.baseline import Baseline, category_counts
from stream_monitor.baselines.recent import (
    GROUPS,
    BaselineSlice,
    SliceHistory,
    SlicePlan,
    category_groups,
    numeric_groups,
    plan_of,
    seasonal,
    weight_of,
)
from stream_monitor.config.detection import BaselineSettings
from stream_monitor.config.durations import DAY, HOUR, WEEK
from stream_monitor.detect.cusum.scores import scores_of
from stream_monitor.profiles.bins import BINS, bin_values, make_edges


def plan(**settings: object) -> SlicePlan:
    found = plan_of(BaselineSettings.model_validate(settings), 1_000)
    assert found is not None
    return found


RNG = np.random.default_rng(1)
VALUES = RNG.normal(size=10_000)
BORDERS = make_edges(VALUES).edges
COUNTS = np.bincount(bin_values(BORDERS, VALUES), minlength=BINS)
FIRST = Baseline("first-10000", 0, 10_000, {"numeric": 10_000}, 10_000, counts=COUNTS)
WEEKLY = plan(kind="hour_of_week")


def came(values: np.ndarray, missing: int = 0) -> BaselineSlice:
    at, n = np.unique(bin_values(BORDERS, values), return_counts=True)
    m2 = float(((values - values.mean()) ** 2).sum())
    ends = float(values.min()), float(values.max())
    return BaselineSlice("1", "all", "x", at, n, float(values.mean()), m2, ends, len(values) + missing, 0)


def filled(weeks: int, shift: float = 0.0) -> SliceHistory:
    """Every hour of so many weeks, ending at `weeks * WEEK`; the hour of the day moves the mean by `shift` an hour."""
    history, rng = SliceHistory.of(WEEKLY, FIRST), np.random.default_rng(2)
    for hour in range(weeks * WEEK // HOUR):
        history.add(WEEKLY, hour * HOUR, came(rng.normal(shift * (hour % 24), size=150)))
    return history


def test_nothing_is_kept_for_a_baseline_of_first_values() -> None:
    assert plan_of(BaselineSettings(), 1_000) is None


def test_a_rolling_baseline_is_what_came_in_the_span_before_the_gap() -> None:
    rolling = plan(kind="rolling", span="28s", gap="3s", first=100)
    history, parts = SliceHistory.of(rolling, FIRST), [RNG.normal(i, size=20) for i in range(60)]
    for second, values in enumerate(parts):
        history.add(rolling, second * 1_000, came(values, missing=2))
    found = history.baseline_for(rolling, FIRST, 60_000, 10_000)
    meant = np.concatenate(parts[60 - 3 - 28 : 60 - 3])
    assert found is not None and found.baseline.name == "rolling-28s"
    assert found.counts.tolist() == np.bincount(bin_values(BORDERS, meant), minlength=BINS).tolist()
    assert found.baseline.mean == pytest.approx(meant.mean())
    assert found.baseline.std == pytest.approx(meant.std())
    assert (found.baseline.events, found.baseline.since) == (28 * 22, 29_000)


def test_a_rolling_baseline_waits_for_as_many_values_as_the_first_one() -> None:
    rolling = plan(kind="rolling", span="28s", gap="3s", first=100)
    history = SliceHistory.of(rolling, FIRST)
    for second in range(5):
        history.add(rolling, second * 1_000, came(RNG.normal(size=25)))
        found = history.baseline_for(rolling, FIRST, (second + 4) * 1_000, 1_000)
        assert (found is not None) == (second >= 3)


def test_a_quiet_measure_is_judged_by_a_full_span_of_fewer_values() -> None:
    rolling = plan(kind="rolling", span="28s", gap="0s", first=1_000)
    history = SliceHistory.of(rolling, FIRST)
    for second in range(28):
        assert history.baseline_for(rolling, FIRST, second * 1_000, 1_000) is None
        history.add(rolling, second * 1_000, came(RNG.normal(size=10)))
    found = history.baseline_for(rolling, FIRST, 28_000, 1_000)
    assert found is not None and found.baseline.n == 280


def test_what_is_refused_leaves_the_baseline_as_it_was() -> None:
    rolling = plan(kind="rolling", span="28s", gap="3s", first=100)
    history = SliceHistory.of(rolling, FIRST)
    for second in range(28):
        history.add(rolling, second * 1_000, came(RNG.normal(size=10)))
    now, later = (history.baseline_for(rolling, FIRST, at, 1_000) for at in (31_000, 31_000 + WEEK))
    assert now is not None and later is not None and now.counts.tolist() == later.counts.tolist()


@pytest.mark.parametrize(("weeks", "name"), [(1, "1w"), (2, "2w"), (3, "2w"), (4, "4w"), (9, "4w")])
def test_an_hour_is_judged_by_one_two_then_four_weeks_of_it(weeks: int, name: str) -> None:
    found = filled(weeks).baseline_for(WEEKLY, FIRST, weeks * WEEK + 5 * HOUR + 60_000, 60_000)
    assert found is not None and found.baseline.name == f"hour-of-week-{name}"
    assert found.baseline.n == 150 * int(name[0]) and found.slices == int(name[0])


def test_a_longer_window_is_judged_by_the_hours_that_it_covers_and_none_by_more_than_a_week() -> None:
    history = filled(2)
    found = history.baseline_for(WEEKLY, FIRST, 2 * WEEK, DAY)
    assert found is not None and found.baseline.n == 24 * 2 * 150 and found.slices == 2
    assert history.baseline_for(WEEKLY, FIRST, 2 * WEEK, 2 * WEEK) is None


def test_without_a_week_the_same_hour_of_the_days_so_far_judges_and_before_that_the_first_values() -> None:
    history, start = SliceHistory.of(WEEKLY, FIRST), 8 * HOUR
    for day, name in enumerate([None, "hour-of-day", "hour-of-day"]):
        found = history.baseline_for(WEEKLY, FIRST, day * DAY + start, HOUR)
        assert (found and found.baseline.name) == name and (found is None or found.slices == day)
        history.add(WEEKLY, day * DAY + start, came(RNG.normal(size=150)))


def test_a_window_never_sees_itself_or_what_came_after_it() -> None:
    found = filled(3).baseline_for(WEEKLY, FIRST, WEEK, HOUR)
    assert found is not None and found.baseline.n == 150 and found.baseline.since == 0


def test_memory_is_what_the_docs_say_however_long_it_goes_on() -> None:
    kept = sum(getattr(filled(6), name).nbytes for name in ("stamp", "counts", "moments", "to", "ends", "weights"))
    assert kept < 95_000
    rolling = plan(kind="rolling")
    history = SliceHistory.of(rolling, FIRST)
    for at in range(100):
        history.add(rolling, at * rolling.slice, came(RNG.normal(size=10)))
    assert sum(getattr(history, name).nbytes for name in ("stamp", "counts", "moments")) < 23_000


def test_versions_of_one_slice_are_merged() -> None:
    history = SliceHistory.of(WEEKLY, FIRST)
    parts = [RNG.normal(i, size=200) for i in range(2)]
    for values in parts:
        history.add(WEEKLY, 0, came(values))
    found = history.baseline_for(WEEKLY, FIRST, WEEK, HOUR)
    meant = np.concatenate(parts)
    assert found is not None and found.slices == 1 and found.baseline.n == 400
    assert found.baseline.mean == pytest.approx(meant.mean()) and found.baseline.std == pytest.approx(meant.std())


def test_groups_are_whole_ranges_of_bins_with_steps_beyond_the_baseline() -> None:
    to = numeric_groups(COUNTS)
    assert (np.diff(to) >= 0).all() and (to >= np.arange(BINS)).all() and len(np.unique(to)) == GROUPS
    assert np.bincount(to, COUNTS, BINS).max() < 0.08 * COUNTS.sum()
    far = bin_values(BORDERS, np.array([VALUES.max() + 1, VALUES.max() + 4]))
    assert to[far[0]] < to[far[1]]


def test_categories_that_the_first_baseline_does_not_know_stay_new_until_they_are_taken_in() -> None:
    names = {f"c{i:03}": 1_000 - i for i in range(100)}
    first = Baseline("f", 0, sum(names.values()), {}, sum(names.values()), categories=names)
    history = SliceHistory.of(WEEKLY, first)
    now = category_counts(first, {"c000": 50, "c099": 40, "odd": 30}, 120)[1]
    bins = np.flatnonzero(now)
    history.add(WEEKLY, 0, BaselineSlice("1", "all", "x", bins, now[bins], 0.0, 0.0, (0.0, 0.0), 120, 0))
    found = history.baseline_for(WEEKLY, first, WEEK, HOUR)
    assert found is not None and found.baseline.rest == 0
    assert found.counts[0] == 50 and found.counts[BINS - 2] == 40 and found.counts[BINS - 1] == 30
    assert category_groups()[BINS - 1] == BINS - 1


def test_the_expected_score_of_an_hour_is_the_mean_of_its_scores() -> None:
    """150 · 4 values an hour: the mean has an error of .041, groups cost less than a tenth of that."""
    scores = scores_of(COUNTS[None]).of_bin[0]
    history = filled(4, shift=0.02)
    told = [history.baseline_for(WEEKLY, FIRST, 4 * WEEK + hour * HOUR, HOUR) for hour in range(24)]
    found = np.array([history.expected_score(merged, scores) for merged in told if merged is not None])
    assert np.abs(found - 0.02 * np.arange(24)).max() < 4 * 0.041
    assert abs((found - 0.02 * np.arange(24)).mean()) < 4 * 0.041 / np.sqrt(24) + 0.01


def test_sums_without_the_season_are_those_of_scores_without_it() -> None:
    scores = RNG.normal(size=50)
    sums = np.array([[50.0], [scores.sum()], [(scores**2).sum()]])
    rest = scores - 0.3
    got = seasonal(sums, np.array([[0.3, 0.5]]))[:, 0]
    assert got == pytest.approx([25.0, rest.sum() / 2, (rest**2).sum() / 2])


def test_values_count_more_the_better_their_hour_is_known() -> None:
    told = [filled(weeks).baseline_for(WEEKLY, FIRST, weeks * WEEK, 1) for weeks in (1, 2, 4)]
    assert [weight_of(found) for found in told if found is not None] == pytest.approx([2 / 3, 4 / 5, 8 / 9])


def test_a_longer_window_is_never_judged_by_a_part_of_the_hours_that_it_covers() -> None:
    """The history begins in the afternoon: a day of it is whole on the next afternoon, a week of it a week later."""
    history, begun, rng = SliceHistory.of(WEEKLY, FIRST), 14 * HOUR, np.random.default_rng(3)
    named: dict[int, str | None] = {}
    for hour in range(14, 24 * 16):
        if hour % 24 == 0:
            found = history.baseline_for(WEEKLY, FIRST, hour * HOUR, DAY)
            named[hour // 24] = None if found is None else found.baseline.name
            if found is not None:  # each hour of the day weighs the same
                assert found.baseline.n % (24 * 150) == 0
        history.add(WEEKLY, hour * HOUR, came(rng.normal(size=150)))
    assert begun % DAY and named[1] is None
    assert {named[day] for day in range(2, 8)} == {"hour-of-day"}
    assert named[8] == "hour-of-week-1w" and named[15] == "hour-of-week-2w"


def test_a_window_that_begins_within_an_hour_is_judged_as_one_that_begins_with_it() -> None:
    history, rng = SliceHistory.of(WEEKLY, FIRST), np.random.default_rng(4)
    for hour in range(24 * 3):
        history.add(WEEKLY, hour * HOUR, came(rng.normal(size=150)))
    whole, part = (history.baseline_for(WEEKLY, FIRST, 3 * DAY + at, HOUR) for at in (10 * HOUR, 10 * HOUR + HOUR // 2))
    assert whole is not None and part is not None
    assert whole.baseline.n == 3 * 150 and part.baseline.n == 2 * 3 * 150
