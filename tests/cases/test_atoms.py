"""Values that come again and again: codes, flags, prices, ratings, counts, and what stands for a missing value."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from stream_monitor.config.settings import Settings, parse
from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.file_replay import published

T0 = 1_760_000_040_000
COUNT, FIRST, CHANGE, BORDER = 6_000, 2_000, 4_000, 4_200
"""Values; a window ends at `BORDER`, so that none holds values of before and after a change there."""
PACE_MS, WINDOW_MS = 100, 60_000
SETTINGS = parse({"baseline": {"first": FIRST}})

Draw = Callable[[random.Random, bool], float]
"""A value, before or after the change."""


def events(
    seed: int, features: Callable[[random.Random, bool], dict[str, Any]], change: int = CHANGE
) -> Iterator[bytes]:
    """Six thousand predictions, ten a second, that change after two thirds."""
    rng = random.Random(seed)
    for at in range(COUNT):
        event = {"id": str(at), "ts": T0 + at * PACE_MS, "model": "m", "prediction": True}
        yield json.dumps(event | {"features": features(rng, at >= change)}).encode()


def judged(found: Iterator[bytes], settings: Settings = SETTINGS) -> tuple[list[Alert], list[Metric]]:
    alerts, metrics = list[Alert](), list[Metric]()
    for record in published(settings, found):
        if isinstance(record, Alert):
            alerts.append(record)
        elif isinstance(record, Metric) and record.kind == "traffic":
            metrics.append(record)
    return alerts, metrics


def opened(alerts: list[Alert]) -> dict[str, Alert]:
    return {alert.measure: alert for alert in alerts if alert.status == "open" and alert.kind == "drift"}


# --- codes as numbers ---


def codes(rng: random.Random, late: bool) -> dict[str, Any]:
    """Five shops of a fifth each; from the change on shop 30 is renamed 25, and 1 in a flag becomes .4."""
    shop, place = rng.choice([10, 20, 30, 40, 50]), rng.choice([10115, 20095, 50667, 80331])
    flag, price = float(rng.random() < 0.3), rng.choice([0.99, 4.99, 9.99, 19.99])
    if late:
        shop = 25 if shop == 30 else shop
        place = 50670 + rng.randrange(900) if place == 80331 else place
        flag *= 0.4
        price = 7.49 if price == 9.99 else price
    return {"shop": shop, "zip": place, "flag": flag, "price": price, "shop_as_text": str(shop)}


@cache
def of_codes() -> tuple[list[Alert], list[Metric], list[dict[str, Any]]]:
    rows = [json.loads(raw)["features"] for raw in events(3, codes)]
    return *judged(events(3, codes)), rows


def test_a_code_that_is_renamed_rings_as_a_number_and_as_a_text() -> None:
    alerts, _, _ = of_codes()
    found = opened(alerts)
    assert found.keys() == {"shop", "zip", "flag", "price", "shop_as_text"}
    assert all(alert.opened_ts >= T0 + CHANGE * PACE_MS - WINDOW_MS for alert in found.values())


@pytest.mark.parametrize(("name", "median"), [("shop", 25), ("zip", 50667), ("flag", 0), ("price", 7.49)])
def test_quantiles_and_distances_of_codes_are_those_of_the_values(name: str, median: float) -> None:
    _, metrics, rows = of_codes()
    base = np.array([row[name] for row in rows[:FIRST]], float)
    for metric in metrics:
        first = (metric.window_start - T0) // PACE_MS
        if first < CHANGE or metric.count < 600:
            continue
        now = np.array([row[name] for row in rows[first : first + 600]], float)
        summary = metric.measures[name]
        exact = [float(np.quantile(now, share, method="inverted_cdf")) for share in (0.5, 0.95, 0.99)]
        told = [summary.p50, summary.p95, summary.p99]
        assert told == pytest.approx(exact, rel=0.02 if name == "zip" else 0)
        at = np.unique(np.concatenate([base, now]))
        gap = np.abs((base[:, None] <= at).mean(0) - (now[:, None] <= at).mean(0)).max()
        assert summary.tests is not None and summary.tests["ks"] == pytest.approx(gap, abs=0.011)
        if first == 4_800:
            assert summary.p50 == median


def test_an_alert_of_codes_shows_the_codes_and_which_of_them_moved() -> None:
    alerts, _, rows = of_codes()
    for name, gone, come in (("shop", "30", "21 … 29"), ("price", "9.99", "between 4.99 and 9.99")):
        alert = opened(alerts)[name]
        assert alert.attribution is not None
        first = (alert.opened_ts - T0) // PACE_MS
        now = [row[name] for row in rows[first : first + 600]]
        moved = {item.name: item.now - item.baseline for item in alert.attribution.moved}
        base = [row[name] for row in rows[:FIRST]]
        assert moved[gone] == pytest.approx(now.count(float(gone)) / 600 - base.count(float(gone)) / FIRST, abs=1e-5)
        assert moved[come] == pytest.approx(sum(value in (25, 7.49) for value in now) / 600, abs=1e-5)
        assert alert.findings[0].evidence["now"]["p50"] == np.quantile(now, 0.5, method="inverted_cdf")


# --- other atoms ---


def flips(share: float, after: float) -> Draw:
    return lambda rng, late: float(rng.random() < (after if late else share))


def poisson(rng: random.Random, mean: float) -> float:
    """Knuth (1969)."""
    count, product, least = 0, rng.random(), float(np.exp(-mean))
    while product > least:
        count, product = count + 1, product * rng.random()
    return float(count)


CHANGES: dict[str, Draw] = {
    "a constant": lambda rng, late: 90.0 if late else 100.0,
    "a flag that was never set": lambda rng, late: 1.0 if late else 0.0,
    "a constant that moves a little": lambda rng, late: 100.01 if late else 100.0,
    "a flag": flips(0.3, 0.6),
    "a rare flag": flips(0.02, 0.4),
    "ratings": lambda rng, late: float(rng.choice([1, 2, 3, 4, 5] if not late else [1, 1, 2, 3, 5])),
    "halves of ratings": lambda rng, late: rng.choice([1.0, 2.0, 3.0, 3.5 if late else 4.0, 5.0]),
    "counts": lambda rng, late: poisson(rng, 2.5 if late else 1.0),
    "prices": lambda rng, late: rng.choice([0.99, 1.99, 2.49 if late else 2.99, 3.99]),
    "a sentinel": lambda rng, late: -999.0 if rng.random() < (0.35 if late else 0.1) else rng.gauss(50, 10),
    "another sentinel": lambda rng, late: (-1.0 if late else -999.0) if rng.random() < 0.2 else rng.gauss(50, 10),
}  # fmt: skip
CALM: dict[str, Draw] = {
    "a constant": lambda rng, late: 100.0,
    "a flag": flips(0.3, 0.3),
    "a rare flag": flips(0.02, 0.02),
    "ratings": lambda rng, late: float(rng.randrange(1, 6)),
    "counts": lambda rng, late: poisson(rng, 1.0),
    "prices": lambda rng, late: rng.choice([0.99, 1.99, 2.99, 3.99]),
    "a sentinel": lambda rng, late: -999.0 if rng.random() < 0.1 else rng.gauss(50, 10),
    "rounded": lambda rng, late: round(rng.gauss(0, 1), 1),
}


def all_of(draws: dict[str, Draw]) -> Callable[[random.Random, bool], dict[str, Any]]:
    return lambda rng, late: {name: draw(rng, late) for name, draw in draws.items()}


def test_every_change_of_an_atom_rings_after_it() -> None:
    found = opened(judged(events(7, all_of(CHANGES), BORDER))[0])
    assert found.keys() == CHANGES.keys()
    assert all(alert.opened_ts == T0 + BORDER * PACE_MS for alert in found.values())


def test_atoms_that_do_not_change_are_quiet_and_their_medians_are_values() -> None:
    draws = all_of(CALM)
    alerts, metrics = judged(events(8, draws))
    assert not opened(alerts)
    rows = [json.loads(raw)["features"] for raw in events(8, draws)]
    for metric in metrics:
        first = max((metric.window_start - T0) // PACE_MS, 0)
        for name in CALM.keys() - {"a sentinel"}:
            now = [row[name] for row in rows[first : first + metric.count]]
            assert metric.measures[name].p50 == np.quantile(now, 0.5, method="inverted_cdf"), name


def test_a_sequential_detector_of_an_input_sees_a_code_that_is_renamed() -> None:
    settings = parse({"baseline": {"first": FIRST}, "detection": {"input": ["cusum"], "numeric": []}})
    draw: Draw = lambda rng, late: float(rng.choice([45 if late else 10, 20, 30, 40, 50]))  # noqa: E731
    found = opened(judged(events(9, all_of({"shop": draw})), settings)[0])
    assert found["shop"].findings[0].detector == "cusum" and found["shop"].findings[0].direction == "up"
