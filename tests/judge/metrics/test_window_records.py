"""What a record says of each measure: its shape, its distance from the baseline, and the courses of detectors."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from stream_monitor.profiles.bin_catalog import BaselineRecord, EdgesRecord, read_notice
from tests.judge.logs import Recorded, recorded
from tests.streams import T0, quick_settings

RULES = {"time": {"pane": "1s", "windows": ["10s", "30s"], "allowed_lateness": "1s", "max_skew": "1s"}}
"""Panes and windows; the rest is that of the quick settings."""


def stream(seconds: int = 120, change_at: int = 60) -> list[tuple[str, bytes]]:
    """Ten predictions a second with labels; at `change_at` the amounts double and answers get wrong."""
    rng, events = random.Random(11), list[tuple[str, dict[str, Any]]]()
    for i in range(10 * seconds):
        ts, changed = T0 + i * 100, i >= 10 * change_at
        amount = rng.gauss(10, 2) * (2 if changed else 1)
        features = {"amount": amount, "country": rng.choice(["DE", "DE", "FR", "IT"]), "lone": 5}
        truth = rng.random() < 0.5
        answer = truth if rng.random() < (0.6 if changed else 0.95) else not truth
        event = {"id": f"e{i}", "ts": ts, "model": "m", "features": features, "prediction": answer}
        events += [("predictions", event), ("labels", {"id": f"e{i}", "ts": ts + 50, "label": truth})]
    return [(role, json.dumps(event).encode()) for role, event in events]


@pytest.fixture(scope="module")
def made() -> Recorded:
    return recorded(quick_settings(**RULES), stream())


def windows(made: Recorded, kind: str, size: int = 10_000) -> list[dict[str, Any]]:
    """The final windows of a kind and size (ms), oldest first."""
    found = [
        m for m in made.metrics if m["kind"] == kind and m["window_end"] - m["window_start"] == size and m["final"]
    ]
    return sorted(found, key=lambda m: m["window_start"])


def test_shapes_hold_all_values_and_those_of_short_windows_add_up_to_the_long_one(made: Recorded) -> None:
    long = windows(made, "traffic", 30_000)[2]
    parts = [w for w in windows(made, "traffic") if long["window_start"] <= w["window_start"] < long["window_end"]]
    assert len(parts) == 3
    for name in ("amount", "country", "prediction"):
        whole = long["measures"][name]
        assert sum(whole["shape"]) == whole["n"]
        assert [sum(c) for c in zip(*(p["measures"][name]["shape"] for p in parts), strict=True)] == whole["shape"]


def test_there_is_no_shape_before_there_are_bins() -> None:
    made = recorded(quick_settings(**RULES, baseline={"first": 150}), stream(30))
    assert ["shape" in window["measures"]["amount"] for window in windows(made, "traffic")] == [False, True, True]


def test_quantiles_are_in_order(made: Recorded) -> None:
    for window in windows(made, "traffic"):
        amount = window["measures"]["amount"]
        found = [amount[name] for name in ("min", "p05", "p25", "p50", "p75", "p95", "p99", "p999", "max")]
        assert found == sorted(found)
        lone = window["measures"]["lone"]
        assert {lone[name] for name in ("p05", "p25", "p50", "p75")} == {5}


def test_a_drift_is_a_multiple_of_what_is_tolerated_with_its_p_value(made: Recorded) -> None:
    quiet, drifted = windows(made, "traffic")[3], windows(made, "traffic")[8]
    amount = drifted["measures"]["amount"]
    assert amount["found"] is True and amount["times"] > 5 and amount["p"]["ks"] < 1e-6
    assert amount["times"] == pytest.approx(max(amount["tests"]["psi"], amount["tests"]["ks"]) / 0.1, rel=1e-4)
    assert quiet["measures"]["amount"]["times"] < 5 and "found" not in quiet["measures"]["amount"]


def test_labels_have_windows_of_their_own_with_the_course_of_their_detectors(made: Recorded) -> None:
    errors = [w["measures"]["error"] for w in windows(made, "label") if "error" in w["measures"]]
    courses = [error["courses"]["cusum"] for error in errors if "courses" in error]
    assert len(courses) >= 6
    assert max(courses[:3]) < 1 < max(courses)
    alert = next(a for a in made.alerts if a["measure"] == "error" and a["status"] == "open")
    assert alert["window"]["size"] == 0 and alert["window"]["start"] >= T0 + 60_000


def test_an_alert_names_the_window_that_led_to_it(made: Recorded) -> None:
    found = [(a["window"], a["ts"]) for a in made.alerts if a["status"] in ("open", "update")]
    assert {window["size"] for window, _ in found} >= {0, 10_000}
    for window, ts in found:
        assert window["end"] == ts and window["end"] - window["start"] == (window["size"] or 1_000)


def test_every_shape_fits_the_baseline_in_the_catalog(made: Recorded) -> None:
    notices = [read_notice(notice) for notice in made.notices]
    assert any(isinstance(n, EdgesRecord) and n.measure == "amount" for n in notices)
    assert any(isinstance(n, BaselineRecord) and n.measure == "country" for n in notices)
    lengths = {len(w["measures"]["country"]["shape"]) for w in windows(made, "traffic")[3:]}
    assert lengths == {3 + 2}  # DE, FR, IT, others and new ones


IGNORED = quick_settings(
    **RULES, detection={"min_count": 20, "input": ["cusum"], "ignore": ["amo*"], "limits": ["amount.mean > 15"]}
)


def test_an_ignored_measure_is_published_and_rings_for_limits_only() -> None:
    made = recorded(IGNORED, stream())
    about = [a for a in made.alerts if a["measure"] == "amount"]
    assert {a["kind"] for a in about} == {"limit"}
    amount = windows(made, "traffic")[8]["measures"]["amount"]
    assert amount["mean"] > 15 and sum(amount["shape"]) == amount["n"]
    assert not amount.keys() & {"tests", "times", "found", "courses"}
    assert "times" in windows(made, "traffic")[8]["measures"]["country"]
