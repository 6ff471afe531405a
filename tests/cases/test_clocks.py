"""One clock that is ahead costs the others nothing, a gap does not stop event time; one that stays ahead is told."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.describe.clock_jumps import Arrivals, Candidate, Clock, advance
from stream_monitor.describe.offset_metadata import OffsetMetadata
from stream_monitor.errors import SettingsError
from stream_monitor.events.contracts import Prediction
from stream_monitor.profiles.names import NEVER
from stream_monitor.verify.expected import Expected
from tests.effort import examples
from tests.judge.logs import Recorded, recorded
from tests.schedules import by_cluster, by_replay
from tests.streams import T0, Event, quick_settings

HOUR, DAY = 3_600_000, 86_400_000
JUMP = HOUR
Step = tuple[int, int]
"""Time and id."""


def arrivals(events: Sequence[Step], stamped: Sequence[bool] | None = None) -> Arrivals:
    ts = np.array([ts for ts, _ in events], np.int64)
    trusted = np.array(stamped or [False] * len(events), np.bool_)
    ids = np.array([id_ for _, id_ in events], np.uint64)
    return Arrivals(np.zeros(len(events), np.int64), ts, lambda: ids, lambda: trusted)


def clock_of(events: Sequence[Step]) -> Clock:
    return advance(Clock(NEVER, None), arrivals(events), JUMP)[0]


def test_one_event_far_ahead_waits_and_the_others_go_on() -> None:
    assert clock_of([(0, 1), (DAY, 2), (10, 3)]) == Clock(10, Candidate(DAY, 2, True))
    assert clock_of([(0, 1), (DAY, 2), (10, 3), (2 * DAY, 4)]) == Clock(10, Candidate(DAY, 2, True))


def test_a_second_event_of_another_id_within_the_jump_moves_the_clock() -> None:
    assert clock_of([(0, 1), (DAY, 2), (DAY + 5, 3)]) == Clock(DAY + 5, None)
    assert clock_of([(0, 1), (DAY, 2), (10, 3), (DAY - HOUR, 3)]) == Clock(DAY, None)
    assert clock_of([(0, 1), (DAY, 2), (DAY + 5, 2)]) == Clock(0, Candidate(DAY, 2))


def test_events_that_are_always_far_apart_move_the_clock_one_behind() -> None:
    assert clock_of([(i * 2 * HOUR, i) for i in range(5)]) == Clock(6 * HOUR, Candidate(8 * HOUR, 4))


def test_the_earlier_of_two_candidates_stays() -> None:
    assert clock_of([(0, 1), (DAY, 2), (2 * HOUR, 3)]) == Clock(0, Candidate(2 * HOUR, 3))
    assert clock_of([(0, 1), (DAY, 2), (2 * HOUR, 3), (2 * HOUR, 4)]) == Clock(2 * HOUR, None)


def test_a_time_that_the_broker_has_set_moves_the_clock_at_once() -> None:
    found, before = advance(Clock(NEVER, None), arrivals([(0, 1), (DAY, 2)], [True, True]), JUMP)
    assert found == Clock(DAY, None) and before.tolist() == [NEVER, 0]


steps = st.lists(st.tuples(st.sampled_from([0, 1, 2, 30, 59, 61, 90, 120, 121, 600]), st.integers(1, 4)), max_size=30)


@examples(130)
@given(steps, st.lists(st.integers(0, 30), max_size=5), st.lists(st.booleans(), min_size=30, max_size=30))
def test_batches_do_not_show_and_the_oracle_agrees(minutes: list[Step], cuts: list[int], stamps: list[bool]) -> None:
    events, stamped = [(T0 + at * 60_000, id_) for at, id_ in minutes], stamps[: len(minutes)]
    clock, before = Clock(NEVER, None), []
    edges = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    for start, end in itertools.pairwise(edges):
        clock, part = advance(clock, arrivals(events[start:end], stamped[start:end]), JUMP)
        before += part.tolist()
    oracle, told = Expected(quick_settings()), []
    for (ts, id_), trusted in zip(events, stamped, strict=True):
        told.append(oracle._largest.get(0, NEVER))
        now = oracle._advanced(Prediction(id=str(id_), ts=ts), 0, oracle._largest.get(0), trusted)
        oracle._largest[0] = now
    assert before == told and clock.largest == oracle._largest.get(0, NEVER)
    ahead = oracle._ahead.get(0)
    assert (ahead is None) == (clock.candidate is None)
    if ahead is not None and clock.candidate is not None:
        assert (ahead[0], int(ahead[1]), ahead[2]) == msgspec.structs.astuple(clock.candidate)


def stream(wrong: dict[int, int], count: int = 3_000) -> list[Event]:
    rng, events = random.Random(5), []
    for i in range(count):
        ts = T0 + i * 50 + wrong.get(i, 0)
        x = rng.gauss(0, 1) + (3 if i > 2 * count // 3 else 0)
        body = {"id": f"e{i}", "ts": ts, "model": "m", "features": {"x": x}, "prediction": rng.random() < 0.3}
        events.append(Event("predictions", f"e{i}", ts, json.dumps(body).encode()))
    return events


def run(events: list[Event], **time: Any) -> Recorded:
    base = {"pane": "1s", "windows": ["10s"], "allowed_lateness": "5s", "max_skew": "1s"} | time
    return recorded(quick_settings(baseline={"first": 500}, time=base), [(event.role, event.raw) for event in events])


def counted(made: Recorded) -> tuple[int, int]:
    traffic = [m for m in made.metrics if m["kind"] == "traffic" and m["final"] and m["segment"] == "all"]
    return sum(m["count"] for m in traffic), sum(m.get("late", 0) for m in traffic)


def test_one_wrong_event_does_not_cost_the_others_and_the_drift_is_found() -> None:
    made = run(stream({800: DAY}))
    assert counted(made) == (3_000, 0)  # the wrong one in a window of its own, far ahead
    opened = [a for a in made.alerts if a["status"] == "open" and a["measure"] == "x"]
    assert opened and T0 + 100_000 <= opened[0]["ts"] <= T0 + 120_000
    assert not [a for a in made.alerts if a["kind"] == "quality"]


def test_two_servers_that_are_ahead_together_are_told() -> None:
    made = run(stream({i: DAY for i in range(800, 3_000, 4)}))
    (alert,) = [a for a in made.alerts if a["kind"] == "quality"]
    assert "came late" in alert["reason"] and "another one's is ahead" in alert["reason"]


@pytest.mark.parametrize("gap", [2 * HOUR, 3 * DAY])
def test_a_gap_costs_nothing(gap: int) -> None:
    made = run(stream({i: gap for i in range(1_500, 3_000)}))
    assert counted(made) == (3_000, 0)


def test_labels_feedback_and_observations_with_one_wrong_clock_are_counted() -> None:
    events = stream({})
    for i in range(0, 3_000, 10):
        ts = T0 + i * 50 + (DAY if i == 500 else 100)
        label = {"id": f"e{i}", "ts": ts, "label": True}
        seen = {"ts": ts, "source": f"s{i}", "model": "m", "measures": {"cpu": 1.0}}
        for role, body in (("labels", label), ("observations", seen)):
            events.append(Event(role, f"e{i}", T0 + i * 50 + 100, json.dumps(body).encode()))
    events.sort(key=lambda event: event.ts)
    made = run(events)
    observed = [m for m in made.metrics if m["kind"] == "observation" and m["final"]]
    assert sum(m["count"] for m in observed) == 300 and sum(m.get("late", 0) for m in observed) == 0


@examples(4)
@given(st.integers(0, 10_000), st.sampled_from([1, 2]), st.sampled_from([0.0, 0.02]))
def test_no_schedule_of_batches_and_crashes_shows_in_a_stream_with_jumps(
    seed: int, workers: int, crashes: float
) -> None:
    """The candidate travels with the offset."""
    rules = quick_settings(baseline={"first": 200}, commit={"snapshot_interval": "2s"})
    events = stream({300: DAY, 500: 2 * HOUR, **{i: 3 * HOUR for i in range(700, 900)}}, 900)
    assert by_cluster(events, rules, (1, workers), seed, crashes) == by_replay(events, rules)


def test_the_metadata_of_an_offset_holds_the_candidate_and_a_former_one_has_none() -> None:
    written = msgspec.json.encode(OffsetMetadata(ts=5, ahead=Candidate(9, 2**64 - 1, True)))
    assert msgspec.json.decode(written, type=OffsetMetadata).ahead == Candidate(9, 2**64 - 1, True)
    assert msgspec.json.decode('{"ts":1,"n":1}', type=OffsetMetadata).ahead is None


def test_a_jump_below_the_lateness_is_refused() -> None:
    with pytest.raises(SettingsError, match="jump must not be below"):
        quick_settings(time={"jump": "1s", "allowed_lateness": "5s", "max_skew": "1s"})
