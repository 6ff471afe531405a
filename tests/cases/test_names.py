"""Text features with many names, and baselines of few values: quiet in calm, and a new name is found."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from stream_monitor.baselines.baseline import (
    LEAST_NAMED,
    MAX_CATEGORIES,
    BaselineBuilder,
    category_counts,
    expected_counts,
    named_categories,
)
from stream_monitor.config.settings import Settings, parse
from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.file_replay import published
from stream_monitor.types import F64

T0 = 1_760_000_040_000
WINDOW, WINDOWS = 500, 6
SEEDS = [range(5), pytest.param(range(20), marks=pytest.mark.long)]


def zipf(names: int, power: float = 1.0) -> F64:
    """Shares of names by rank."""
    shares = 1.0 / np.arange(1, names + 1) ** power
    return np.asarray(shares / shares.sum())


LAWS = {
    "uniform 100": zipf(100, 0.0),
    "uniform 200": zipf(200, 0.0),
    "uniform 2,000": zipf(2_000, 0.0),
    "zipf 150": zipf(150),
    "zipf 2,000": zipf(2_000),
    "zipf 20,000": zipf(20_000),
}


def settings(first: int) -> Settings:
    return parse({"baseline": {"first": first}})


def events(seed: int, first: int, new: float = 0.0) -> Iterator[bytes]:
    """A feature of each law; after the baseline and two windows a share `new` of its values is one new name."""
    rng = np.random.default_rng([seed, first])
    count, begin = first + WINDOW * (WINDOWS + 3), first + 2 * WINDOW
    begin += -begin % WINDOW
    drawn = {law: rng.choice(len(shares), count, p=shares) for law, shares in LAWS.items()}
    come = rng.random(count) < new
    come[:begin] = False
    for at in range(count):
        features = {law: "new" if come[at] else f"name {names[at]}" for law, names in drawn.items()}
        event = {"id": str(at), "ts": T0 + at * 60_000 // WINDOW, "model": "m", "prediction": True}
        yield json.dumps(event | {"features": features}).encode()


def opened(found: Iterator[bytes], first: int) -> list[Alert]:
    records = published(settings(first), found)
    return [record for record in records if isinstance(record, Alert) and record.status == "open"]


@pytest.mark.parametrize("seeds", SEEDS, ids=["few", "all"])
@pytest.mark.parametrize("first", [500, 2_000])
def test_names_that_do_not_change_are_quiet(first: int, seeds: range) -> None:
    rung = [(seed, alert.measure, alert.reason) for seed in seeds for alert in opened(events(seed, first), first)]
    assert not rung


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
def test_names_that_do_not_change_are_quiet_with_a_long_baseline(seed: int) -> None:
    assert not [alert.reason for alert in opened(events(seed, 20_000), 20_000)]


@pytest.mark.parametrize("seed", range(3))
def test_a_new_name_of_eight_per_cent_is_found_within_three_windows(seed: int) -> None:
    first = 2_000
    begin = T0 + (first + 2 * WINDOW) * 60_000 // WINDOW
    alerts = [alert for alert in opened(events(seed, first, new=0.08), first) if alert.kind == "quality"]
    assert {alert.measure for alert in alerts} == LAWS.keys()
    assert all(begin <= alert.opened_ts < begin + 3 * 60_000 for alert in alerts)
    assert all(alert.findings[0].detector == "new_categories" for alert in alerts)


# --- what a sample knows ---


@pytest.mark.parametrize("first", [500, 2_000, 20_000])
@pytest.mark.parametrize("law", LAWS)
def test_the_expected_share_of_named_categories_is_that_of_other_values(law: str, first: int) -> None:
    """Over many baselines the error has no direction, and the share in the sample itself does."""
    errors, naive = [], []
    for seed in range(30):
        rng = np.random.default_rng([seed, first])
        names, times = np.unique(rng.choice(len(LAWS[law]), first, p=LAWS[law]), return_counts=True)
        builder = BaselineBuilder(categorical=first, categories=dict(zip(map(str, names), times.tolist(), strict=True)))
        baseline = builder.finish("first", 0, None)
        base, _ = category_counts(baseline, {}, 0)
        expected, named = expected_counts(baseline, base), len(baseline.categories or ())
        true = sum(LAWS[law][int(name)] for name in baseline.categories or ())
        assert expected.sum() == pytest.approx(first) and expected.min() >= 0
        errors.append(float(expected[:named].sum()) / first - true)
        naive.append(float(base[:named].sum()) / first - true)
    assert abs(np.mean(errors)) < max(4 * np.std(errors) / np.sqrt(30), 0.005)
    assert abs(np.mean(errors)) <= abs(np.mean(naive)) + 0.005


def test_a_baseline_names_all_categories_or_those_above_a_count() -> None:
    few = {f"{at}": at + 1 for at in range(MAX_CATEGORIES)}
    assert named_categories(few) == (dict(sorted(few.items(), key=lambda item: (-item[1], item[0]))), 0)
    many = {f"{at}": at // 2 + 1 for at in range(400)}
    named, least = named_categories(many)
    assert len(named) <= MAX_CATEGORIES and min(named.values()) == least
    assert all(count < least for name, count in many.items() if name not in named)
    rare, least = named_categories(dict.fromkeys(map(str, range(1_000)), 2))
    assert not rare and least == LEAST_NAMED


def test_metrics_of_calm_names_show_small_distances() -> None:
    records = published(settings(2_000), events(3, 2_000))
    metrics = [record for record in records if isinstance(record, Metric) and record.kind == "traffic"]
    scores = [tests["psi"] for metric in metrics for law in LAWS if (tests := metric.measures[law].tests)]
    assert scores and max(scores) < 0.1
