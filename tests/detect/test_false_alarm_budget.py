"""One knob: what `detection.false_alarms` says in numbers, and that windows without change keep to it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from stream_monitor.config.detection import DetectionSettings, TimeSettings
from stream_monitor.config.durations import format_duration, per_ms
from stream_monitor.detect.false_alarm_budget import (
    MOST,
    QUALITY,
    TIMELINES,
    loss_level,
    quality_level,
    sequential_ms,
    shares_of,
    users,
    window_level,
)
from stream_monitor.detect.windows.binned import Compared
from stream_monitor.detect.windows.tests import TESTS, discoveries
from stream_monitor.profiles.bins import BINS

MINUTE, WEEK = 60_000, 7 * 86_400_000


def settings(**values: object) -> DetectionSettings:
    return DetectionSettings.model_validate(values)


@pytest.mark.parametrize(
    ("text", "said", "per_week"),
    [
        ("1 per week", "1 per week", 1.0),
        ("1/week", "1 per week", 1.0),
        (" 0.5 / day", "0.5 per day", 3.5),
        ("2 per hour", "2 per hour", 336.0),
        ("3/month", "3 per month", 0.7),
    ],
)
def test_a_rate_is_a_number_per_hour_day_week_or_month(text: str, said: str, per_week: float) -> None:
    assert settings(false_alarms=text).false_alarms == said
    assert per_ms(text) * WEEK == pytest.approx(per_week)


@pytest.mark.parametrize("text", ["", "often", "0 per week", "1 per year", "per week", "-1/day", "1 perweek", 3])
def test_what_is_no_rate_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="write 1 per week"):
        settings(false_alarms=text)


def test_the_parts_are_the_whole_when_everything_speaks() -> None:
    """A week of a model with all settings of cusum and two window sizes on every lane."""
    every = settings(input=["cusum"], outcome=["cusum", "adwin"], false_alarms="1 per week")
    rows = len(users(every)) * WEEK / sequential_ms(every)
    sizes, lanes = (MINUTE, 60 * MINUTE), len(TIMELINES)
    windows, losses = (
        sum(lanes * WEEK / size * level(every, size, 2) for size in sizes) for level in (window_level, loss_level)
    )
    assert (rows, windows, losses) == pytest.approx((0.5, 0.45, 0.05))


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"outcome": []},
        {"outcome": [], "feedback": []},
        {"input": ["cusum"], "outcome": ["cusum", "adwin"]},
        {"input": ["adwin"], "feedback": ["page_hinkley"]},
        {"tolerance": {"missing": 1, "new_categories": 1, "type_change": 1}},
    ],
)
@pytest.mark.parametrize("sizes", [("1m",), ("1m", "10m", "1h", "6h", "1d"), ("1h/5m", "1d")])
def test_the_shares_add_up_to_the_whole_whatever_is_chosen(chosen: dict[str, object], sizes: tuple[str, ...]) -> None:
    windows = TimeSettings.model_validate({"windows": sizes}).windows
    assert sum(shares_of(settings(**chosen), windows).values()) == pytest.approx(1)


def test_the_levels_in_force_are_those_of_the_table() -> None:
    every = settings(input=["cusum"])
    windows = TimeSettings.model_validate({"windows": ("10m", "1h/5m")}).windows
    shares, rate = shares_of(every, windows), per_ms(every.false_alarms)
    for user in set(users(every)) - {QUALITY}:
        assert 1 / sequential_ms(every) == pytest.approx(rate * shares[f"sequential {user}"])
    for timeline, window in product(TIMELINES, windows):
        for part, level in (("windows", window_level), ("losses", loss_level)):
            share = shares[f"{part} {timeline} {format_duration(window.size)}"]
            assert level(every, window.slide, 2) / window.slide == pytest.approx(rate * share)
        share = shares[f"quality {timeline} {format_duration(window.size)}"]
        assert quality_level(every, window.size, 2) / window.size == pytest.approx(rate * share)


def test_a_sliding_window_is_judged_more_often_each_time_at_the_worth_of_its_slide() -> None:
    hour, slide = 60 * MINUTE, 5 * MINUTE
    tumbling, sliding = (
        WEEK / hour * window_level(settings(), hour, 1),
        WEEK / slide * window_level(settings(), slide, 1),
    )
    assert tumbling == pytest.approx(sliding)
    assert window_level(settings(), slide, 1) == pytest.approx(window_level(settings(), hour, 1) / 12)


def test_a_level_is_bounded_and_can_be_set() -> None:
    assert window_level(settings(), 30 * 86_400_000, 1) == MOST
    assert window_level(settings(false_discovery_rate=0.02), MINUTE, 3) == 0.02


def test_windows_without_change_ring_as_often_as_their_level() -> None:
    """Budget: 4,000 windows of 20 measures at a level of .005, 20 alarms; more than 37 come once in 3,000 runs.

    Tolerance 0, the classical tests: with the default tolerances there is next to none. Two tests a measure, as by
    default, and measures that are alike in pairs, for dependence must not matter.
    """
    rng, level, alarms = np.random.default_rng(7), 0.005, 0
    share, measures, n = np.full(100, 0.01), 10, 1_000
    for _ in range(4_000):
        base, now = (rng.multinomial(size, share, measures).repeat(2, axis=0) for size in (10_000, n))
        pad = ((0, 0), (0, BINS - 100))
        data = Compared(np.pad(base, pad), np.pad(now, pad), np.zeros((2 * measures, BINS)))
        p = np.minimum(TESTS["psi"](data, 0.0).p, TESTS["ks"](data, 0.0).p) * 2
        alarms += bool(discoveries(p, level).any())
    assert 0 < alarms <= stats.poisson.isf(3e-4, 4_000 * level)
