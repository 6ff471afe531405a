"""Performance windows: which revision is published when, and that no signal comes too late for the last one."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.recorded import judged_text
from stream_monitor.events.contracts import Metric
from stream_monitor.judge.metrics.performance import Performance, lags_of
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.profiles.names import END
from stream_monitor.profiles.records import (
    DeltaRecord,
    PartitionTime,
    PerformanceDelta,
    SettingsRecord,
    WatermarkRecord,
)
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.judge.panes.test_merge_queue import deltas_of
from tests.streams import quick_settings

KEY = ("1", "all")
SIZE, HORIZON = 10, 100


def signals(window: int, name: str, n: int = 1) -> PerformanceDelta:
    at, no = np.zeros(1, np.int64), np.zeros(0, np.int64)
    return PerformanceDelta(
        "m", ["1"], ["all"], np.array([window]), at, [name], at, at, np.array([n]), np.array([float(n)]), [], no, no, no
    )  # fmt: skip


def told(windows: Performance, labels: int, feedback: int) -> list[tuple[int, int, bool]]:
    return [(one.window.start, one.revision, one.final) for one in windows.advance(labels, feedback)]


def test_revisions_go_by_labels_and_the_last_waits_for_feedback() -> None:
    windows = Performance([SIZE], lags_of((0, 30), HORIZON))
    windows.count(KEY, 5, 7)
    assert told(windows, 9, END) == []
    assert told(windows, 10, 0) == [(0, 0, False)]
    assert told(windows, 39, 0) == []
    windows.feed(signals(5, "signal.click"))
    assert told(windows, 40, 0) == [(0, 1, False)]
    assert told(windows, 500, 0) == []
    windows.feed(signals(5, "signal.click"))  # of a topic that is read later than that of labels
    assert told(windows, 500, 109) == []
    assert told(windows, 500, 110) == [(0, 2, True)]
    assert not windows.windows
    windows.feed(signals(5, "signal.click"))
    assert told(windows, 600, 600) == []


def test_a_window_that_waits_for_feedback_is_looked_at_again_only_when_it_may_be_final() -> None:
    """Feedback may be rare, and then a horizon of windows waits."""
    windows = Performance([SIZE], lags_of((0,), HORIZON))
    for at in range(0, 200, SIZE):
        windows.count(KEY, at, 1)
    assert len(told(windows, 1_000, 0)) == 20
    assert told(windows, 1_001, 109) == [] and windows.next_due == END and windows.next_final_due == 110
    assert [start for start, *_ in told(windows, 1_001, 130)] == [0, 10, 20]
    assert windows.next_final_due == 140
    again = unpack(pack(windows), Performance, own=True)
    again.next_final_due = -(2**62)  # as of a snapshot from before
    assert told(again, 1_001, 140) == told(windows, 1_001, 140) == [(30, 1, True)]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8),
    st.sampled_from([(), (0,), (0, 3), (2, 5, 30)]),
)
def test_however_watermarks_come_every_window_becomes_final_once_and_in_order(
    steps: list[tuple[int, int]], revisions: tuple[int, ...]
) -> None:
    windows, labels, feedback, said = Performance([4, 8], lags_of(revisions, 20)), 0, 0, list[tuple[int, int, int]]()
    for at in range(0, 60, 4):
        windows.count(KEY, at, 1)
    for label, signal in [*steps, (END, END)]:
        labels, feedback = max(labels, label), max(feedback, signal)
        for one in windows.advance(labels, feedback):
            end = one.window.start + one.window.size
            assert one.final == (end + 20 <= min(labels, feedback)) and (one.final or end <= labels)
            said.append((one.window.size, one.window.start, one.revision))
    assert len(set(said)) == len(said)
    for size in (4, 8):
        last = [start for of, start, revision in said if of == size and revision == len(windows.lags) - 1]
        assert last == list(range(0, 60, size))


def test_signals_that_come_after_all_labels_are_in_the_final_record() -> None:
    rules = quick_settings()
    size, horizon = rules.time.windows[0].size, rules.join.label_horizon
    far = 10 * (size + horizon)

    def time(labels: int, feedback: int) -> WatermarkRecord:
        return WatermarkRecord(1, [PartitionTime(0, far, labels, feedback, far, False, False)])

    records: list[Any] = [
        SettingsRecord("a", judged_text(rules)),
        DeltaRecord(deltas_of(np.random.default_rng(1), [0])),
        time(far, 0),
        DeltaRecord([], [signals(0, "signal.click", 3)]),
        time(far, far),
    ]
    judge = PartitionJudge(0, rules, PartitionState(), {})
    said = [one for record in records for one in judge.process(record, 0) if isinstance(one, Metric)]
    final = [one for one in said if one.kind == "performance" and one.final and (one.version, one.segment) == KEY]
    assert [one.measures["signal.click"].n for one in final] == [3]


STEPS = st.lists(st.tuples(st.sampled_from(["count", "feed", "advance", "waiting"]), st.integers(0, 300)), max_size=40)


@given(STEPS, st.booleans())
def test_what_waits_is_the_sum_of_the_windows_that_have_ended_and_are_not_final(
    steps: list[tuple[str, int]], with_snapshots: bool
) -> None:
    windows, closed, watermark = Performance([SIZE, 3 * SIZE], lags_of((0, 30), HORIZON)), 0, 0
    for step, at in steps:
        if step == "count":
            windows.count(KEY, at, 3)
        elif step == "feed":
            windows.feed(signals(at, "signal.click"))
        elif step == "advance":
            watermark = max(watermark, at)
            list(windows.advance(watermark, watermark))
        else:
            closed = max(closed, at)
            kept = [w for (size, _), w in windows.windows.items() if size == SIZE and w.start + SIZE <= closed]
            before = pack(windows)
            found = windows.waiting(closed, keep=False)
            assert pack(windows) == before
            assert windows.waiting(closed) == found
            assert found.count == sum(window.groups[KEY].count for window in kept)
            clicks = sum(window.groups[KEY].sums.get("signal.click", (0, 0.0))[0] for window in kept)
            assert found.sums.get("signal.click", (0, 0.0)) == (clicks, clicks)
        if with_snapshots:
            windows = unpack(pack(windows), Performance, own=True)
