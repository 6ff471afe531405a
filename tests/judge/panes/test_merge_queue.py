"""Panes wait to be merged into windows many at once: neither when they are, nor how many, shows in anything."""

from __future__ import annotations

import gc
import itertools
import json
import random
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.config.detection import WINDOW_TESTS, DetectionSettings
from stream_monitor.config.durations import WindowSpec
from stream_monitor.config.recorded import judged_text
from stream_monitor.config.settings import CapSettings, parse
from stream_monitor.describe.aggregate.delta_writer import Batch, pack_deltas
from stream_monitor.describe.aggregate.grouping import ACCEPTED
from stream_monitor.describe.decode.columns import Coded, Columns
from stream_monitor.detect.cusum.bank import CusumBank
from stream_monitor.detect.windows.overdispersion import Dispersion
from stream_monitor.errors import FormatError
from stream_monitor.events.contracts import Metric
from stream_monitor.judge.detection.sequential import SequentialRules
from stream_monitor.judge.detection.window_evaluation import MeasureComparison, WindowEvaluation, run_tests
from stream_monitor.judge.panes import merge_queue as waiting
from stream_monitor.judge.panes.merge_queue import MergeBatch, QueuedPane
from stream_monitor.judge.panes.pane import IdRegistry, Pane, RowIndexCache, split
from stream_monitor.judge.panes.windows import Window
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.judge.snapshots import Snapshots
from stream_monitor.judge.timelines import timeline as timeline_module
from stream_monitor.judge.timelines.state import TimelineRules, TimelineState
from stream_monitor.judge.timelines.timeline import Timeline, WindowClosed
from stream_monitor.profiles.bins import make_edges
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.known_bins import KnownBins
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.records import (
    DeltaRecord,
    PartitionTime,
    Record,
    ResetRecord,
    SettingsRecord,
    WatermarkRecord,
    read_record,
    write_record,
)
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.effort import examples
from tests.judge.logs import Recorded
from tests.streams import T0, quick_settings

PACES = [WindowSpec(16, 16), WindowSpec(64, 8)]
EDGES = make_edges(np.random.default_rng(0).normal(0, 2, 400))
KNOWN = KnownBins({"x": EDGES, "z": EDGES}, {"c": frozenset("abc")})
PANES = 70


def timeline_of() -> Timeline:
    rules = TimelineRules("m", 1, PACES, 10**9, None, CapSettings(), {}, SequentialRules((), 1.0, DetectionSettings()))
    state = TimelineState("input", [Window(spec.slide) for spec in PACES], edges={"x": EDGES, "z": EDGES})
    return Timeline(state, rules, CusumBank())


def deltas_of(rng: np.random.Generator, panes: list[int]) -> list[Delta]:
    """What one worker sends of these panes: two versions, segments, values that are missing, names that vary."""
    n = 6 * len(panes)
    x = rng.normal(0, 1, n)
    x[rng.random(n) < 0.2] = np.nan
    columns = Columns(
        Coded.one("m", n),
        np.arange(n),
        Coded.of(rng.choice(["1", "2"], n).tolist()),
        {"x": x, "z": rng.normal(0, 3, n)} if rng.random() < 0.8 else {"x": x},
        {"c": Coded.of(rng.choice(np.array(["a", "b", "c", "d", None]), n).tolist())},
        {("s",): Coded.of(rng.choice(np.array(["s=1", None]), n).tolist())},
    )
    batch = Batch("input", columns, np.repeat(np.array(panes, np.int64), 6), np.full(n, ACCEPTED))
    return [unpack(raw, Delta) for _, raw in pack_deltas(batch, lambda _: KNOWN)]


def feed_of(seed: int) -> list[tuple[int, list[Delta]]]:
    """(pane, the deltas that come before it closes): of one pane or several, from one worker or two."""
    rng, found, pane = np.random.default_rng(seed), list[tuple[int, list[Delta]]](), 0
    while pane < PANES:
        panes = list(range(pane, min(pane + int(rng.integers(1, 6)), PANES)))
        found.append((panes[-1], [delta for _ in range(rng.integers(1, 3)) for delta in deltas_of(rng, panes)]))
        pane = panes[-1] + 1 + int(rng.choice([0, 0, 0, 20]))
    return found


def windows_of(feed: list[tuple[int, list[Delta]]], stops: set[int]) -> list[bytes]:
    """All that a lane's windows hold, with everything merged whenever one of these panes has closed."""
    timeline, said = timeline_of(), list[bytes]()
    for pane, deltas in feed:
        for delta in deltas:
            timeline.feed(delta)
        for event in timeline.advance(pane + 1):
            if isinstance(event, WindowClosed):
                said.append(plain(event.window))
        if pane in stops:
            timeline.flush_merges()
            assert not timeline.merge_queue.panes
    return said


def plain(window: Window) -> bytes:
    """Everything that a window holds, to the last digit; its table may have more room or less."""
    table = window.numbers
    rows = [
        (at, *(np.asarray(getattr(table, name)[at]).tolist() for name in ("n", "mean", "m2", "low", "high", "counts")))
        for at in map(tuple, np.argwhere(table.n > 0).tolist())
    ]
    categories = [(key, n, sorted(counts.items())) for key, (n, counts) in sorted(window.categories.items())]
    return msgspec.msgpack.encode((window.start, window.size, window.counts.tolist(), rows, categories))


@examples(12)
@given(st.integers(0, 10**6), st.sets(st.integers(0, PANES)))
def test_when_panes_are_merged_does_not_show_in_the_last_digit(seed: int, stops: set[int]) -> None:
    feed = feed_of(seed)
    expected = windows_of(feed, stops=set())
    assert expected
    assert windows_of(feed, stops) == expected
    assert windows_of(feed, set(range(PANES))) == expected


@pytest.mark.parametrize(("parts", "size"), [(3, 10**9), (10**9, 2_000)])
def test_what_waits_is_bounded_by_parts_and_by_bytes(parts: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PARTS", parts)
    monkeypatch.setattr(waiting, "PART_BYTES", size)
    timeline, rng, most = timeline_of(), np.random.default_rng(1), 0
    for pane in range(15):
        for delta in deltas_of(rng, [pane]):
            timeline.feed(delta)
        list(timeline.advance(pane + 1))
        held = [part for one in timeline.merge_queue.panes for part in one.parts]
        most = max(most, len(held))
        assert len(held) < parts
        assert sum(part.numeric.nbytes + part.categorical.nbytes for part in held) < size
    assert 0 < most < 15


def test_a_part_of_a_large_delta_does_not_count_as_all_of_it() -> None:
    """Or the panes of a long commit would be merged one by one."""
    timeline = timeline_of()
    (delta,) = deltas_of(np.random.default_rng(1), list(range(7)))
    timeline.feed(delta)
    list(timeline.advance(7))
    assert len(timeline.merge_queue.panes) == 7
    whole = sum(table.nbytes for table in (delta.numeric, delta.categorical, delta.tails) if table is not None)
    assert sum(part.nbytes for _, part in split(delta)) <= whole


def test_what_waits_keeps_neither_the_pane_nor_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampled rows and embeddings of 64 panes would be much."""
    panes: list[weakref.ref[Pane]] = []

    class Watched(Pane):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            panes.append(weakref.ref(self))

    monkeypatch.setattr(timeline_module, "Pane", Watched)
    (delta,) = deltas_of(np.random.default_rng(1), [0])
    timeline, record = timeline_of(), weakref.ref(packed := np.frombuffer(bytearray(pack(delta)), np.uint8))
    timeline.feed(unpack(memoryview(packed), Delta))  # type: ignore[arg-type]
    del packed
    list(timeline.advance(1))
    gc.collect()
    assert len(timeline.merge_queue.panes) == 1
    assert [pane() for pane in panes] == [None]
    assert record() is None


def test_a_delta_whose_arrays_do_not_fit_is_a_format_error() -> None:
    (delta,) = deltas_of(np.random.default_rng(1), [0])
    ids = IdRegistry({}, {})
    groups = np.array([ids.group(*key) for key in zip(delta.version, delta.segment, strict=True)])

    def came(**columns: Any) -> MergeBatch:
        broken = msgspec.structs.replace(delta, numeric=delta.numeric.replaced(**columns))
        [(start, part)] = split(broken)
        return MergeBatch([QueuedPane.of(Pane(start, [RowIndexCache(ids).placed(part, groups)], ids, {}))])

    assert came().counts.sum() > 0
    for name, column in (("mean", np.zeros(1)), ("bin_at", np.zeros(1, "u1")), ("bin_ptr", np.zeros(2, "u1"))):
        with pytest.raises(FormatError):
            came(**{name: column})


def counted(records: list[Record]) -> dict[tuple[int, int], int]:
    """Events of each final window of a partition's judge that hears these records, by its start and end."""
    judge, found = PartitionJudge(0, RULES, PartitionState(), {}), dict[tuple[int, int], int]()
    for record in records:
        for said in judge.process(record, 0):
            if isinstance(said, Metric) and said.kind == "traffic" and said.segment == ALL_SEGMENTS and said.final:
                at = said.window_start, said.window_end
                found[at] = found.get(at, 0) + said.count
    return found


RULES = parse({"time": {"windows": ["1m"]}})


def test_settings_that_change_while_panes_wait_lose_nothing() -> None:
    text = judged_text(RULES)
    other = judged_text(parse({"time": {"windows": ["1m"]}, "detection": {"recovery": 9}}))
    rng, records = np.random.default_rng(3), list[Record]([SettingsRecord("a", text)])
    for second in range(150):
        records.append(DeltaRecord(deltas_of(rng, [second * 1_000])))
        now = second * 1_000
        records.append(WatermarkRecord(1, [PartitionTime(0, now, now, now, now, False, False)]))
    expected = {(0, 60_000): 360, (60_000, 120_000): 360}
    assert counted(records) == expected
    changed = [*records[:41], SettingsRecord("b", other), *records[41:181], SettingsRecord("a", text), *records[181:]]
    assert counted(changed) == expected


def test_windows_that_are_tested_together_are_tested_as_each_alone() -> None:
    """To the last digit, whichever others come with it, and whether or not some of them scatter more."""
    numeric, categorical = ([name for name, test in WINDOW_TESTS.items() if kind in test.kinds]
                            for kind in ("numeric", "categorical"))  # fmt: skip
    rng, every = np.random.default_rng(5), DetectionSettings(numeric=numeric, categorical=categorical)

    def trials() -> list[WindowEvaluation]:
        rng, found = np.random.default_rng(6), []
        for size in (1, 3, 40, 150):
            comparisons = []
            for at in range(size):
                numeric = bool(rng.integers(2))
                base, now = (rng.multinomial(n, rng.dirichlet(np.ones(160) / 4)) for n in rng.integers(60, 5_000, 2))
                baseline = Baseline("b", 0, int(base.sum()), {"number": int(base.sum())}, n=int(base.sum()), m2=9.0)
                borders = np.sort(rng.normal(0, 1, 150)) if numeric else None
                comparisons.append(
                    MeasureComparison(at % 3, f"m{at}", baseline, base, now, borders, None if numeric else {})
                )
            scatter = Dispersion({(s.group, s.measure, ""): at for at, s in enumerate(comparisons)})
            scatter.mean, scatter.n = rng.uniform(0, 9, (3, size)), rng.integers(0, 32, (3, size))
            window = Window(60_000, 0, np.full((3, 4), 9_000))
            found.append(WindowEvaluation(comparisons, every, [], window, [(window.size, scatter)], {}))
        return found

    together, alone = trials(), trials()
    run_tests(together)
    for evaluation in rng.permutation(len(alone)).tolist():
        run_tests([alone[evaluation]])
    told = [
        [(s.factor, s.scores, s.p) for evaluation in found for s in evaluation.comparisons]
        for found in (together, alone)
    ]
    assert told[0] == told[1]
    assert any(s.factor > 1 for evaluation in together for s in evaluation.comparisons)
    tried = [{"missing", *(numeric if s.borders is not None else categorical)} for t in together for s in t.comparisons]
    assert all(names <= p.keys() for names, (*_, p) in zip(tried, told[0], strict=True))


def log_of(seed: int) -> tuple[Any, list[tuple[bytes, int]]]:
    """Three models, one of which changes, with measures that come and go, resets, a pin of nothing and a gap."""
    rules = quick_settings(segments=[["country"]], caps={"measures": 12, "segments": 6})
    rng = random.Random(seed)
    events = []
    for i in range(1_800):
        if 700 < i < 760:
            continue
        features = {"x": rng.gauss(10, 1) * (1 if i < 900 else 3), "k": rng.choice("abcdefgh")}
        if rng.random() < 0.1:
            features[f"f{rng.randrange(20)}"] = rng.random()
        event = {
            "id": f"e{i}", "model": f"m{rng.randrange(3)}", "version": rng.choice("12"), "ts": T0 + 50 * i,
            "features": features, "prediction": rng.random() < 0.5, "tags": {"country": rng.choice(["DE", "FR", "IT"])},
        }  # fmt: skip
        events.append(("predictions", json.dumps(event).encode()))
        label = {"id": f"e{i}", "ts": T0 + 50 * i + 500, "label": rng.random() < 0.5}
        events.append(("labels", json.dumps(label).encode()))
    run, at = Recorded(rules), 0
    for number, size in enumerate(itertools.cycle([7, 30, 120, 300])):
        if at >= len(events):
            break
        if number in (12, 20, 26):
            run.reset(ResetRecord(f"m{number % 3}", "x" if number < 26 else None))
        run.feed(events[at : at + size])
        at += size
    run.finish()
    return rules, [(write_record(record), arrived) for record, arrived in run.log]


def judged(
    log: tuple[Any, list[tuple[bytes, int]]], between: Callable[[PartitionJudge, int], PartitionJudge]
) -> list[bytes]:
    """All that a judge says of a log, with something done to it before each record."""
    rules, records = log
    judge, found = PartitionJudge(0, rules, PartitionState(), {}), list[bytes]()
    for at, (record, arrived) in enumerate(records):
        judge = between(judge, at)
        found += [pack(said) for said in judge.process(read_record(record), arrived)]
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_neither_merging_nor_restoring_nor_looking_shows(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log, rng = log_of(seed), random.Random(seed)

    topic, snapshots = dict[bytes, bytes | None](), Snapshots()

    def restored(judge: PartitionJudge, at: int) -> PartitionJudge:
        """Each snapshot writes what has changed; what lies on a compacted topic is read."""
        nonlocal snapshots
        if rng.random() < 0.5:
            return judge
        topic.update({record.key: record.value for record in snapshots.write(judge, at)})
        if rng.random() < 0.5:
            return judge
        found = Snapshots.read([value for value in topic.values() if value is not None], at)
        snapshots, again = found.snapshots, PartitionJudge(0, log[0], found.state, found.models)
        again.rest(snapshots.unchanged(at))
        return again

    def looked_at(judge: PartitionJudge, at: int) -> PartitionJudge:
        if rng.random() < 0.3:
            for model in judge.models.values():
                list(model.preview(judge.state.watermarks))
        return judge

    expected = judged(log, lambda judge, _: judge)
    assert len(expected) > 100
    assert judged(log, restored) == expected
    assert judged(log, looked_at) == expected
    monkeypatch.setattr(waiting, "PARTS", 1)
    assert judged(log, lambda judge, _: judge) == expected
