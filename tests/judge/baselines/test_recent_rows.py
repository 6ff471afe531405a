"""Rows against the recent past through the whole product, by replay."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from stream_monitor.baselines.recent_rows import SLICE_ROWS
from stream_monitor.config.durations import DAY, HOUR
from stream_monitor.config.settings import Settings
from stream_monitor.judge.timelines.state import TimelineState
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.records import ResetRecord
from tests.judge.detection.test_multivariate import stream
from tests.judge.logs import Recorded, comparable, packed, recorded, restored
from tests.streams import MONDAY, T0, quick_settings

Line = tuple[str, bytes]


def rules(kind: str = "rolling", **baseline: Any) -> Settings:
    past = {"first": 400, "kind": kind, "span": "56s", "gap": "10s", **baseline}
    return quick_settings(
        sample={"rows": 40},
        baseline=past,
        time={"pane": "1s", "windows": ["10s"], "allowed_lateness": "5s", "max_skew": "1s"},
        detection={"min_count": 50, "input": [], "outcome": [], "cooldown": "1s"},
    )


def of(run: Recorded, status: str) -> list[float]:
    """Seconds at which the alert on rows had a status."""
    return [(a["ts"] - T0) / 1000 for a in run.alerts if (a["measure"], a["status"]) == (JOINT, status)]


def baselines(run: Recorded) -> list[str | None]:
    """What judged the rows of each window that has any."""
    told = [m for m in run.metrics if m["kind"] == "traffic" and JOINT in m["measures"]]
    return [m["measures"][JOINT].get("baseline") or m["baseline"] for m in told]


def fed(settings: Settings, events: Iterable[Line]) -> tuple[Recorded, TimelineState]:
    run, todo = Recorded(settings), list(events)
    for at in range(0, len(todo), 200):
        run.feed(todo[at : at + 200])
    return run, run.judge.assignments[0].judge.models["m"].state.timelines["input"]


CHANGED = [(6_000, 0.8), (10_000, -0.8)]


def test_a_correlation_that_flips_rings_until_it_has_been_there_for_as_long_as_is_accepted() -> None:
    run = recorded(rules(accept_after="60s"), stream(1, CHANGED))
    assert of(run, "open") == [pytest.approx(130, abs=10)]
    (resolved,) = of(run, "resolved")
    assert 190 < resolved < 290  # from 180 on it is taken in, 56 s fill the span, 10 s are the gap
    assert {*baselines(run)} == {"first-400", "rolling-56s"} and baselines(run)[-1] == "rolling-56s"


@pytest.mark.parametrize("kind", ["rolling", "first"])
def test_it_does_not_become_normal_before(kind: str) -> None:
    run, timeline = fed(rules(kind, accept_after="1h"), stream(1, CHANGED))
    assert len(of(run, "open")) == 1 and not of(run, "resolved")
    kept = [one.rows for line in timeline.recent.samples.history.lines.values() for one in line]
    assert bool(kept) == (kind == "rolling")
    assert all(np.corrcoef(rows.number("a"), rows.number("b"))[0, 1] > 0.5 for rows in kept)


def test_what_a_lane_keeps_is_bounded() -> None:
    _, timeline = fed(rules(), stream(1, [(12_000, 0.8)]))
    past = timeline.recent.samples
    [line] = past.history.lines.values()
    assert timeline.recent.plan is not None and len(line) == timeline.recent.plan.depth
    assert max(len(one.rows) for one in line) <= SLICE_ROWS["rolling"] and len(past.waiting) <= 12


def test_a_slow_change_is_followed_by_a_rolling_baseline_alone() -> None:
    spans = [(500, 0.8 - 0.02 * i) for i in range(60)]
    assert of(recorded(rules("first"), stream(2, spans)), "open")
    assert not of(recorded(rules(), stream(2, spans)), "open")


def test_a_reset_forgets_the_rows_of_the_past() -> None:
    run, timeline = fed(rules(), list(stream(1, [(6_000, 0.8)])))
    assert timeline.recent.samples.history.lines and timeline.recent.samples.waiting
    run.reset(ResetRecord("m", since=T0 + 121_000))
    run.feed(list(stream(1, [(6_000, 0.8), (500, -0.8)]))[6_000:])
    assert not timeline.recent.samples.history.lines and not timeline.recent.samples.waiting


def test_a_snapshot_holds_the_past_and_another_span_begins_with_none() -> None:
    run, timeline = fed(rules(), stream(1, [(6_000, 0.8)]))
    judge = run.judge.assignments[0].judge.models["m"]
    again = restored(packed(judge))
    assert again.timelines["input"].recent.samples.history.lines
    assert comparable(again) == comparable(judge.saved_state())
    run.judge.assignments[0].judge.base = other = rules(span="28s")
    assert type(judge)(again, other).state.timelines["input"].recent.samples.history.lines == {}
    assert timeline.recent.samples.history.lines


def test_without_rows_nothing_is_kept() -> None:
    _, timeline = fed(rules().model_copy(update={"sample": quick_settings().sample}), stream(1, [(6_000, 0.8)]))
    assert (
        not timeline.recent.samples.history.lines and not timeline.recent.samples.waiting and timeline.recent.histories
    )


# --- hours of the week ---


def hours(days: int, broken: int) -> list[Line]:
    """Two hours a day that differ in how two features go together; on one day the second is as the first."""
    rng, events = random.Random(3), list[Line]()
    for day in range(days):
        for i in range(400):
            first = i < 200 or day == broken
            a, noise = rng.gauss(0, 1), rng.gauss(0, 1)
            b = (0.9 if first else -0.9) * a + math.sqrt(1 - 0.81) * noise
            ts = MONDAY + day * DAY + 9 * HOUR + i * 18_000
            body = {"id": f"e{day}.{i}", "model": "m", "ts": ts, "features": {"a": a, "b": b}}
            events.append(("predictions", json.dumps(body).encode()))
    return events


def hourly(kind: str) -> Settings:
    return quick_settings(
        sample={"rows": 40},
        baseline={"first": 400, "kind": kind},
        time={"pane": "10m", "windows": ["1h"], "allowed_lateness": "10m", "max_skew": "1s"},
        join={"label_horizon": "2h", "early_horizon": "1h", "grain": "1h", "revisions": ["0s"]},
        detection={"min_count": 50, "input": [], "outcome": [], "cooldown": "1h"},
    )


def days_in_alert(run: Recorded) -> set[int]:
    alerts = [a for a in run.alerts if a["measure"] == JOINT and a["status"] in ("open", "updated")]
    return {(a["ts"] - MONDAY) // DAY for a in alerts}


def test_hours_that_differ_are_held_against_the_same_hours() -> None:
    run = recorded(hourly("hour_of_week"), hours(32, 30))
    assert {*baselines(run)} == {"first-400", "hour-of-day", "hour-of-week-2w", "hour-of-week-4w"}
    assert {day for day in days_in_alert(run) if day > 7} == {30}
    assert any(day > 0 for day in days_in_alert(recorded(hourly("first"), hours(8, 99))))
