"""Sliding windows: each is the merge of its panes, whatever came when; a tumbling one is the case of slide = size."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.config.durations import WindowSpec
from stream_monitor.config.settings import CapSettings, Settings
from stream_monitor.detect.cusum.bank import CusumBank
from stream_monitor.detect.windows.volume import VolumeRange
from stream_monitor.errors import SettingsError
from stream_monitor.file_replay import replay
from stream_monitor.judge.detection.sequential import SequentialRules
from stream_monitor.judge.panes.windows import EMPTY_REPORTED, Window
from stream_monitor.judge.timelines.state import TimelineRules, TimelineState
from stream_monitor.judge.timelines.timeline import Timeline, WindowClosed, WindowEmpty
from stream_monitor.profiles.delta import CategoricalRows, Delta, NumericRows
from stream_monitor.profiles.names import END
from stream_monitor.stages.contract import Output
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.effort import examples
from tests.streams import Event, quick_settings, shop

PACES = [WindowSpec(12, 3), WindowSpec(6, 6), WindowSpec(8, 2), WindowSpec(20, 20), WindowSpec(9, 1)]

Told = tuple[int, int, int, tuple[float, ...] | None, Counter[str]]
"""End, size, events, (n, mean, m2, least, largest) and categories of a window."""


def timeline_of(paces: list[WindowSpec], state: TimelineState | None = None, first: int = 8) -> Timeline:
    rules = TimelineRules("m", 1, paces, first, None, CapSettings(), {}, SequentialRules((), 1.0, DetectionSettings()))
    return Timeline(state or TimelineState("input", [Window(spec.slide) for spec in paces]), rules, CusumBank())


def delta_of(pane: int, values: list[float]) -> Delta:
    """The values of a pane as a number, and as a category."""
    x, n, one = np.array(values), len(values), np.zeros(1, np.int64)
    numbers = NumericRows.none().replaced(
        names=["x"], edges=[0], cell=one, name=one, n=np.array([n]), mean=np.array([x.mean()]),
        m2=np.array([((x - x.mean()) ** 2).sum()]), low=np.array([x.min()]), high=np.array([x.max()]),
        bin_ptr=np.zeros(2, np.int64), value_ptr=np.array([0, n]), values=x,
    )  # fmt: skip
    names = Counter(f"{value:g}" for value in values)
    codes, counts = np.arange(len(names)), np.array(list(names.values()))
    categories = CategoricalRows(
        names=["c"], categories=list(names), cell=one, name=one, n=np.array([n]), ptr=np.array([0, len(names)]),
        code=codes, count=counts,
    )  # fmt: skip
    return Delta("m", "input", ["1"], ["all"], np.array([pane]), np.array([[n, 0, 0]]), numbers, categories)


def told(window: Window) -> Told:
    table, moments = window.numbers, None
    if table.n.any():
        columns = (table.n, table.mean, table.m2, table.low, table.high)
        moments = tuple(float(f"{float(column[0, 0]):.9g}") for column in columns)
        kept = sum(len(values) for parts in window.values.values() for values in parts)
        assert kept + int(table.counts[0, 0].sum()) == int(table.n[0, 0])
    categories = Counter[str]()
    for _, counts in window.categories.values():
        categories.update(counts)
    return window.end, window.size, int(window.counts[:, 0].sum()), moments, categories


def by_lane(panes: dict[int, list[float]], paces: list[WindowSpec], cuts: list[int]) -> list[Any]:
    """What a lane says as the watermark goes from cut to cut; panes come before the watermark that closes them."""
    timeline, said, todo = timeline_of(paces), list[Any](), sorted(panes)
    for cut in [*cuts, END]:
        for pane in [pane for pane in todo if pane < cut]:
            todo.remove(pane)
            timeline.feed(delta_of(pane, panes[pane]))
        for event in timeline.advance(cut, max(panes)):
            if isinstance(event, WindowClosed):
                said.append(told(event.window))
            elif isinstance(event, WindowEmpty):
                said.append((event.start + event.size, event.size))
        timeline.flush_merges()
        timeline = timeline_of(paces, unpack(pack(timeline.state), TimelineState, own=True))  # as from a snapshot
        assert all(len(timeline.state.closed_parts.get(size, [])) < size // slide for size, slide in paces)
    assert not timeline.state.waiting
    return said


def naive(panes: dict[int, list[float]], paces: list[WindowSpec]) -> list[Told]:
    found: list[Told] = []
    for size, slide in paces:
        for end in range(slide, max(panes) + slide + 1, slide):
            values = [x for pane in sorted(panes) if end - size <= pane < end for x in panes[pane]]
            if values:
                x = np.array(values)
                moments = len(x), x.mean(), ((x - x.mean()) ** 2).sum(), x.min(), x.max()
                rounded = tuple(float(f"{float(m):.9g}") for m in moments)
                found.append((end, size, len(x), rounded, Counter(f"{v:g}" for v in values)))
    return sorted(found, key=lambda one: one[:2])


panes_of = st.dictionaries(
    st.one_of(st.integers(0, 40), st.integers(0, 200)),
    st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=4),
    min_size=1,
    max_size=25,
)


@examples(50)
@given(panes_of, st.lists(st.sampled_from(PACES), min_size=1, max_size=3, unique=True), st.data())
def test_a_window_is_the_merge_of_its_panes_however_the_watermark_comes(
    panes: dict[int, list[float]], paces: list[WindowSpec], data: st.DataObject
) -> None:
    """Gaps that are longer than a window, panes at borders, values that get edges on the way, a snapshot every step."""
    last = max(panes)
    cuts = data.draw(st.lists(st.integers(1, max(last, 1)), max_size=12).map(sorted))
    said = by_lane(panes, paces, cuts)
    windows, empty = [one for one in said if len(one) > 2], [one for one in said if len(one) == 2]
    assert [one[:3] + one[4:] for one in windows] == [one[:3] + one[4:] for one in naive(panes, paces)]
    for one, wanted in zip(windows, naive(panes, paces), strict=True):
        assert one[3] == pytest.approx(wanted[3], rel=1e-9, abs=1e-9)
    known, slide_of = {one[:2] for one in windows}, {spec.size: spec.slide for spec in paces}
    assert not known & set(empty)
    assert all((end - slide_of[size], size) in {*known, *empty} for end, size in empty)
    one_by_one = by_lane(panes, paces, list(range(1, last + 1)))
    assert [one for one in one_by_one if len(one) > 2] == windows  # in the same order, and to the last digit
    assert said == [one for one in one_by_one if one in said]


def test_the_first_empty_windows_of_a_run_are_reported_in_the_order_of_their_ends() -> None:
    said = by_lane({0: [1.0], 600: [1.0]}, [WindowSpec(12, 3), WindowSpec(6, 6)], [600])
    assert [one[:2] for one in said][:7] == [(3, 12), (6, 6), (6, 12), (9, 12), (12, 6), (12, 12), (15, 12)]
    empty = [one for one in said if len(one) == 2]
    assert empty == sorted(empty)
    for size, first, slide in ((6, 12, 6), (12, 15, 3)):
        assert [end for end, of in empty if of == size] == [first + slide * k for k in range(EMPTY_REPORTED)]


def test_a_stream_that_is_over_ends_with_the_slide_of_its_last_event() -> None:
    said = by_lane({0: [1.0], 7: [2.0]}, [WindowSpec(12, 3)], [])
    assert [one[0] for one in said] == [3, 6, 9]


def test_a_snapshot_from_before_there_were_sliding_windows_is_read() -> None:
    """It has neither the parts before, nor how many windows of volume were partial."""
    timeline = timeline_of([WindowSpec(6, 6)])
    timeline.feed(delta_of(7, [1.0]))
    list(timeline.advance(9))
    timeline.flush_merges()
    former = {name: getattr(timeline.state, name) for name in timeline.state.__struct_fields__ if name != "earlier"}
    again = timeline_of([WindowSpec(6, 6)], unpack(pack(former), TimelineState, own=True))
    again.feed(delta_of(10, [3.0]))
    (window,) = [h.window for h in again.advance(12) if isinstance(h, WindowClosed)]
    assert told(window)[:3] == (12, 6, 2)


def run(rules: Settings, events: list[Event]) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = defaultdict(list)

    def publish(output: Output) -> None:
        if output.role in ("alerts", "metrics"):
            out[output.role].append(json.loads(output.value))

    replay(rules, [(event.role, event.raw) for event in events], publish)
    return out


def timed(*windows: str) -> dict[str, Any]:
    return {"pane": "1s", "windows": windows, "allowed_lateness": "5s", "max_skew": "1s"}


def test_a_window_that_slides_by_its_size_is_a_tumbling_one() -> None:
    tumbling, sliding = quick_settings(time=timed("10s")), quick_settings(time=timed("10s/10s"))
    assert tumbling == sliding and tumbling.structure() == sliding.structure()
    assert sliding.model_dump(mode="json")["time"]["windows"] == ["10s"]
    assert run(tumbling, shop(3)) == run(sliding, shop(3))


def test_every_second_the_last_ten_are_judged_and_a_change_is_found_before_a_tumbling_window_ends() -> None:
    detection = {"min_count": 20, "input": [], "outcome": [], "cooldown": "1s"}
    opened = {}
    for window in ("20s", "20s/1s"):
        out = run(quick_settings(time=timed(window), join={"grain": "10s"}, detection=detection), shop(3, 900))
        traffic = [m for m in out["metrics"] if m["kind"] == "traffic" and m["model"] == "m0"]
        keys = [(m["window_start"], m["window_end"]) for m in traffic]
        assert len(keys) == len(set(keys)) and {end - start for start, end in keys} == {20_000}
        opened[window] = min(a["ts"] for a in out["alerts"] if (a["measure"], a["status"]) == ("amount", "open"))
        ends = sorted({end for _, end in keys})
        step = 1_000 if "/" in window else 20_000
        assert {b - a for a, b in itertools.pairwise(ends)} == {step}
    assert opened["20s/1s"] < opened["20s"] and opened["20s/1s"] % 1_000 == 0


def test_the_first_windows_that_slide_over_a_model_are_no_range_of_its_volume() -> None:
    known = VolumeRange()
    for count in (10, 20, 30, 40, 40, 41, 39):
        known.train(count, partial=3)
    assert (known.windows, known.least, known.most) == (4, 39, 41)


@pytest.mark.parametrize(
    ("window", "problem"),
    [
        ("10s/3s", "its size 10s is no multiple of its slide 3s"),
        ("10s/2500ms", "its slide 2500ms is no multiple of time.pane 1s"),
        ("10s/20s", "its size 10s is no multiple of its slide 20s"),
        ("10s/0s", "its slide 0ms is no multiple"),
        ("10m/1s", "is 600 slides long, at most 288 are kept: slide by 3s or more"),
        ("10s/", "'' is not a duration"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(window: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        quick_settings(time=timed(window))


def test_windows_of_one_size_have_one_slide() -> None:
    with pytest.raises(SettingsError, match="named twice: of each size one slide"):
        quick_settings(time=timed("10s", "10s/1s"))


@pytest.mark.parametrize("spec", [WindowSpec(30, 30), WindowSpec(30, 10)])
def test_which_categories_are_left_does_not_depend_on_when_counts_are_merged(spec: WindowSpec) -> None:
    """As many names as a window keeps, twice over, and one in every pane whose hash is too large to be kept."""
    found = []
    for snapshots in ((), (9,), (11, 20), range(30)):
        timeline = timeline_of([spec])
        for pane in range(30):
            timeline.feed(delta_of(pane, [float(x) for x in range(700 * pane, 700 * (pane + 1))] + [-1.0] * 50))
            list(timeline.advance(pane))
            if pane in snapshots:
                timeline.flush_merges()
        (window,) = [
            told(h.window) for h in timeline.advance(END, 29) if isinstance(h, WindowClosed) and h.window.end == 30
        ]
        found.append(window[-1])
    assert found[0] == found[1] == found[2] == found[3]
    assert len(found[0]) == 4_096 and {n for name, n in found[0].items() if name != "-1"} == {1}
    assert found[0].get("-1", 1_500) == 1_500


def test_a_preview_shows_what_waits_to_be_merged_of_panes_that_came_in_parts() -> None:
    timeline = timeline_of([WindowSpec(12, 3)])
    for values in ([1.0, 2.0], [2.0, 3.0]):
        timeline.feed(delta_of(0, values))
    list(timeline.advance(1))
    assert len(timeline.merge_queue.panes) == 1
    shown = [told(finished.window)[-1] for finished in timeline.preview(0)]
    assert shown and shown[0] == Counter({"1": 1, "2": 2, "3": 1})
    assert [told(finished.window)[-1] for finished in timeline.preview(0)] == shown
