"""Baselines that are reset: forgotten from a pane on, made anew with new edges; what lies on old ones is moved."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.baseline.build import build
from stream_monitor.baseline.show import active, in_progress, measures_of, summary_table, tables_of
from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Alert
from stream_monitor.judge.model import ModelJudge
from stream_monitor.judge.panes.rebinning import Bins, Move
from stream_monitor.profiles.bin_catalog import EdgesRecord, read_notice
from stream_monitor.profiles.bins import BINS, DIGEST, BinEdges, bin_values, make_edges
from stream_monitor.profiles.known_bins import KnownBins
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import DeltaRecord, ResetRecord
from stream_monitor.rejudge.log_replay import RejudgeTerms, judge_again
from tests.judge.logs import Recorded
from tests.screens import shown
from tests.streams import T0, Event, quick_settings

DETECTION = {"min_count": 20, "input": ["cusum"], "outcome": [], "cooldown": "1s"}
RULES = quick_settings(detection=DETECTION, segments=[["country"]])
CHANGE, PLANNED = 60, 75
"""Seconds: when the unit of x changes, and when people say that this is normal now."""


def metres(seconds: int = 150, rate: int = 20) -> list[Event]:
    """A feature x whose values are a thousand times larger from second 60 on, one that stays, and a category."""
    rng, events = random.Random(1), list[Event]()
    for i in range(rate * seconds):
        scale = 1 if i < rate * CHANGE else 1_000
        ts = T0 + 1_000 * i // rate
        features = {"x": scale * rng.gauss(10, 1), "same": rng.gauss(0, 1), "kind": rng.choice(["a", "b"])}
        body = {"id": f"e{i}", "model": "m", "version": "12"[i % 2], "ts": ts, "features": features}
        body["tags"] = {"country": rng.choice(["DE", "FR"])}
        events.append(Event("predictions", f"e{i}", ts, json.dumps(body).encode()))
    return events


class Judged(Recorded):
    """A replay whose model can be looked at when it is over; a stream that has ended leaves none."""

    model: ModelJudge

    def finish(self) -> None:
        self.model = self.judge.assignments[0].judge.models["m"]
        super().finish()


def run(
    resets: dict[int, ResetRecord],
    batch: int = 25,
    rules: Settings = RULES,
    pinned: list[PinnedBaseline] | None = None,
) -> Judged:
    """Judge the stream; resets are written when so many events have come."""
    made, events = Judged(rules, pinned or ()), [(e.role, e.raw) for e in metres()]
    for at in range(0, len(events), batch):
        for came in sorted(resets):
            if at <= came < at + batch:
                made.reset(resets[came])
        made.feed(events[at : at + batch])
    made.finish()
    return made


def traffic_of(made: Recorded, since: int) -> list[dict[str, Any]]:
    wanted = "traffic", "all", True
    found = [m for m in made.metrics if (m["kind"], m["segment"], m["final"]) == wanted]
    return [m for m in found if m["window_start"] >= since]


def said(made: Recorded, measure: str, segment: str = "all", version: str = "1") -> list[tuple[str, float]]:
    wanted = measure, segment, version
    return [
        (a["status"], (a["ts"] - T0) / 1_000)
        for a in made.alerts
        if (a["measure"], a["segment"], a["version"]) == wanted and a["kind"] == "drift" and a["status"] != "outcome"
    ]


def test_a_change_that_is_here_to_stay_becomes_normal_with_edges_of_its_own() -> None:
    made = run({0: ResetRecord("m", "x", since=T0 + PLANNED * 1_000)})
    opened, ended = [x for x in said(made, "x") if x[0] != "update"]
    assert opened[0] == "open" and CHANGE < opened[1] < PLANNED
    assert ended[0] == "resolved" and ended[1] == pytest.approx(PLANNED, abs=2)
    assert not said(made, "same")
    last = [a for a in made.alerts if a["measure"] == "x" and a["segment"] == "all" and a["version"] == "1"][-1]
    assert last["reason"] == "m 1: the baseline of x was reset" and not last.get("findings")
    timeline = made.model.timelines["input"].state
    baseline, edges = timeline.baselines.shared["all", "x"], timeline.edges["x"]
    assert baseline.mean == pytest.approx(10_000, rel=0.05) and edges.ordinal == 2
    assert 100 <= baseline.n < 130 and baseline.left_out == 0  # every value from the pane on was known
    assert int(((edges.edges > 9_000) & (edges.edges < 11_000)).sum()) > 50
    assert timeline.edges["same"].ordinal == 1 and timeline.baselines.shared["all", "same"].mean == pytest.approx(
        0, abs=0.3
    )
    traffic = [m for m in made.metrics if m["kind"] == "traffic" and m["segment"] == "all" and m["version"] == "1"]
    moved = [(m["window_start"] - T0) / 1_000 for m in traffic if m["measures"]["x"].get("approximate")]
    assert moved and all(PLANNED - 10 <= start <= PLANNED + 10 for start in moved)
    assert all(m["measures"]["x"]["p50"] == pytest.approx(10_000, rel=0.1) for m in traffic[8:])
    assert not any(m["measures"]["same"].get("approximate") for m in traffic)


@pytest.mark.parametrize("batch", [7, 100, 3_000])
def test_it_is_the_same_in_any_batches_when_it_was_said_before(batch: int) -> None:
    resets = {0: ResetRecord("m", since=T0 + PLANNED * 1_000)}
    by_25, by_others = run(resets), run(resets, batch)
    assert [a["id"] for a in by_others.alerts] == [a["id"] for a in by_25.alerts]
    finals = [[m for m in made.metrics if m["final"] and m["kind"] == "traffic"] for made in (by_25, by_others)]
    for one, other in zip(*finals, strict=True):
        assert one["measures"].keys() == other["measures"].keys() and one["window_end"] == other["window_end"]
        for name, summary in one["measures"].items():
            for statistic in ("p50", "n", "mean"):
                found, wanted = other["measures"][name].get(statistic), summary.get(statistic)
                assert found == (None if wanted is None else pytest.approx(wanted, rel=1e-9))


def test_what_was_counted_on_old_edges_before_describe_heard_is_left_out_and_its_number_is_kept() -> None:
    """The reset is written at second 80, a batch is five seconds long, and 5 s of lateness are on their way."""
    made = run({80 * 20: ResetRecord("m", "x")}, batch=100)
    baseline = made.model.timelines["input"].state.baselines.shared["all", "x"]
    assert baseline.left_out > 0 and baseline.mean == pytest.approx(10_000, rel=0.05)
    assert baseline.events - sum(baseline.kinds.values()) == 0  # none of them is missing
    counted = sum(m["measures"]["x"]["n"] for m in made.metrics if m["kind"] == "traffic" and m["segment"] == "all")
    assert counted == len(metres())
    tail = traffic_of(made, T0 + 110_000)
    assert tail and all(m["measures"]["x"]["tests"] for m in tail)
    assert [x for x in said(made, "x") if x[1] > 100] == []


class Deaf(Judged):
    """Describe hears of nothing but the first edges of each measure: as a worker that is far behind."""

    first: BinEdges

    def _keep(self, output: Any) -> None:
        super()._keep(output)
        for key in list(self.catalog._known):
            known = self.catalog._known[key]
            if "x" in known.edges and known.edges["x"].ordinal > 1:
                known.add_edges("x", self.first)
            elif "x" in known.edges:
                self.first = known.edges["x"]


def test_deltas_on_former_edges_are_moved_to_those_in_force_and_marked() -> None:
    made, events = Deaf(RULES), [(e.role, e.raw) for e in metres()]
    made.reset(ResetRecord("m", "x", since=T0 + PLANNED * 1_000))
    for at in range(0, len(events), 50):
        made.feed(events[at : at + 50])
    made.finish()
    versions = {
        version
        for record, _ in made.log[-40:]
        if isinstance(record, DeltaRecord)
        for delta in record.deltas
        for name, version in zip(delta.numeric.names, delta.numeric.edges, strict=True)
        if name == "x"
    }
    assert versions == {made.first.version} and made.model.timelines["input"].state.edges["x"].ordinal == 2
    late = traffic_of(made, T0 + 110_000)
    assert late and all(m["measures"]["x"]["approximate"] for m in late)
    assert all(m["measures"]["x"]["n"] > 50 and m["measures"]["x"]["tests"] for m in late)


def test_a_segment_is_reset_without_the_others_and_counts_on_the_edges_there_are() -> None:
    made = run({0: ResetRecord("m", "x", segment="country=DE", since=T0 + PLANNED * 1_000)})
    state = made.model.timelines["input"].state
    assert state.edges["x"].ordinal == 1 and not state.former_edges
    means = {s: state.baselines.shared[s, "x"].mean for s in ("all", "country=DE", "country=FR")}
    assert means == {
        "all": pytest.approx(10, rel=0.05), "country=DE": pytest.approx(10_000, rel=0.05),
        "country=FR": pytest.approx(10, rel=0.05),
    }  # fmt: skip
    assert [status for status, _ in said(made, "x", "country=DE") if status != "update"] == ["open", "resolved"]
    assert [status for status, _ in said(made, "x", "country=FR") if status != "update"] == ["open"]


def test_a_version_loses_what_was_pinned_for_it_and_is_judged_by_what_all_share() -> None:
    old = [(e.role, e.raw) for e in metres()[: 20 * CHANGE]]
    new = [(e.role, e.raw) for e in metres()[20 * CHANGE :]]
    pinned = build(RULES, old, "old", None).baselines
    for_two = build(RULES, new, "new", "2").baselines
    made = run({0: ResetRecord("m", version="2", since=T0 + PLANNED * 1_000)}, pinned=[*pinned, *for_two])
    state = made.model.timelines["input"].state
    assert not state.baselines.by_version and state.baselines.shared["all", "x"].name == "old"
    judged = made.judge.assignments[0].judge
    assert {key for key in judged.state.pins} == {("m", "")}
    used = {
        (m.get("baseline"), m["window_end"] > T0 + PLANNED * 1_000)
        for m in made.metrics
        if m["version"] == "2" and m["segment"] == "all" and m["kind"] == "traffic"
    }
    assert used == {("new", False), ("old", True)}
    assert not any("was reset" in a["reason"] for a in made.alerts if a["version"] == "1")


def test_volume_is_learned_anew() -> None:
    made = run({0: ResetRecord("m", "volume", since=T0 + PLANNED * 1_000)})
    known = made.model.state.consumers["volume"].ranges["1", "all", 10_000]
    assert known.windows == pytest.approx((150 - PLANNED) / 10, abs=1)
    assert run({}).alerts[0]["id"] == made.alerts[0]["id"]


def test_what_is_in_the_making_is_listed_until_it_is_made() -> None:
    made = run({0: ResetRecord("m", since=T0 + PLANNED * 1_000)})
    begins = T0 + PLANNED * 1_000
    told = [read_notice(raw) for raw in made.notices]
    at = next(i for i, notice in enumerate(told) if getattr(notice, "since", None) == begins)
    going = in_progress(made.notices[: at + 12])
    assert {(one.segment, one.measure, one.since) for one in going} >= {("all", "x", begins), ("all", "kind", begins)}
    table = summary_table(active(made.notices[: at + 12]), "first", going)
    assert "reset, in the making" in shown([table], 120)
    assert measures_of(made.notices[: at + 12], ResetRecord("m", segment="country=DE")) >= {"x", "same", "kind"}
    assert measures_of(made.notices, ResetRecord("m", "volume")) == {"volume"}
    assert measures_of(made.notices, ResetRecord("m", "y")) == measures_of(made.notices, ResetRecord("n")) == set()
    assert in_progress(made.notices) == []
    (now,) = active(made.notices)
    x = next(m for m in now.measures if (m.segment, m.measure) == ("all", "x"))
    assert x.borders is not None and x.baseline.counts is not None
    assert len(x.borders) and int(x.baseline.counts.sum()) == x.baseline.n


def test_a_pin_after_a_reset_brings_its_own_edges_without_moving_a_count() -> None:
    new = build(RULES, [(e.role, e.raw) for e in metres()[20 * CHANGE :]], "new", None).baselines
    made = Judged(RULES)
    events = [(e.role, e.raw) for e in metres()]
    made.reset(ResetRecord("m", since=T0 + PLANNED * 1_000))
    for at in range(0, len(events), 50):
        if at == 1_650:  # a second and a half after the pane of the reset has closed
            made.pin(new[0])
        made.feed(events[at : at + 50])
    made.finish()
    state = made.model.timelines["input"].state
    (wanted,) = [m for m in new[0].measures if (m.segment, m.measure) == ("all", "x")]
    assert state.baselines.shared["all", "x"].name == "new" and not state.baselines.shared["all", "x"].approximate
    assert wanted.borders is not None and np.array_equal(state.edges["x"].edges, wanted.borders)


def test_what_was_left_out_of_a_baseline_is_shown_beside_it() -> None:
    """The reset comes when describe has counted on the former edges for a second."""
    made = run({1_520: ResetRecord("m", "x", since=T0 + PLANNED * 1_000)}, batch=40)
    (now,) = active(made.notices)
    x = next(m.baseline for m in now.measures if (m.segment, m.measure) == ("all", "x"))
    assert x.left_out > 0
    text = shown(tables_of(now))
    heading, row = (next(line for line in text.splitlines() if word in line) for word in ("left out", "x  "))
    assert "left out" in heading and f" {x.left_out} " in row
    assert "left out" not in shown(tables_of(active(run({}).notices)[0]))


def test_counts_of_a_baseline_that_were_moved_to_other_edges_are_called_approximate() -> None:
    """In the evidence of alerts, of windows and of detectors, and where the baseline is shown."""
    calm = build(RULES, [(e.role, e.raw) for e in metres(20)], "calm", None).baselines
    made, events = Judged(RULES), [(e.role, e.raw) for e in metres(90)]
    for at in range(0, len(events), 50):
        if at == 600:  # there are edges since the first ten seconds
            made.pin(calm[0])
        made.feed(events[at : at + 50])
    made.finish()
    found = [f for a in made.alerts if (a["measure"], a["segment"]) == ("x", "all") for f in a.get("findings", [])]
    usual = {f["detector"]: f["evidence"]["baseline"] for f in found if "baseline" in f.get("evidence", {})}
    assert usual.keys() >= {"cusum"} and len(usual) > 1
    assert all(told["approximate"] is True for told in usual.values())
    (pinned,) = active(made.notices)
    assert "≈" in shown(tables_of(pinned)) and "≈" not in shown(tables_of(calm[0]))
    first = [f for a in run({}).alerts if a["measure"] == "x" for f in a.get("findings", [])]
    assert first and not any("approximate" in f["evidence"].get("baseline", {}) for f in first if f.get("evidence"))


def test_a_log_with_a_reset_judged_again_says_the_same_and_by_other_settings_keeps_both_edges() -> None:
    made = run({0: ResetRecord("m", "x", since=T0 + PLANNED * 1_000)})
    same = judge_again(RejudgeTerms(RULES, catalog=made.knowledge_of_edges()), 0)
    alerts = [s for s in same.process(made.log) if isinstance(s, Alert)]
    assert [(a.id, a.status, a.ts) for a in alerts] == [(a["id"], a["status"], a["ts"]) for a in made.alerts]
    longer = quick_settings(detection=DETECTION, segments=[["country"]], baseline={"first": 200})
    other = judge_again(RejudgeTerms(longer, catalog=made.knowledge_of_edges()), 0)
    list(other.process(made.log[:-1]))
    state, live = other.judge.models["m"].timelines["input"].state, made.model.timelines["input"].state
    assert np.array_equal(state.edges["x"].edges, live.edges["x"].edges) and state.edges["x"].ordinal == 2
    assert [*state.former_edges["x"]] == [*live.former_edges["x"]] and len(live.former_edges["x"]) == 1
    baseline = state.baselines.shared["all", "x"]
    assert baseline.n >= 200 and baseline.mean == pytest.approx(10_000, rel=0.05)


def test_describe_counts_on_edges_up_to_the_pane_that_it_was_told() -> None:
    known = KnownBins()
    known.add_edges("x", BinEdges(1, np.array([0.0])), until=100)
    known.add_edges("y", BinEdges(1, np.array([0.0])))
    assert known.at(99) is known and known.at(100).edges.keys() == {"y"} and known.at(100) is known.at(500)
    known.add_edges("x", BinEdges(2, np.array([1.0])))
    assert known.at(500) is known


def test_edges_that_are_being_made_anew_are_told_as_over_and_former_ones_have_a_key_of_their_own() -> None:
    made = run({0: ResetRecord("m", "x", since=T0 + PLANNED * 1_000)})
    told = [n for n in map(read_notice, made.notices) if isinstance(n, EdgesRecord) and n.measure == "x"]
    assert [(n.version // DIGEST, n.until, n.former) for n in told] == [
        (1, T0 + PLANNED * 1_000, False), (1, None, True), (2, None, False),
    ]  # fmt: skip
    assert told[0].version == told[1].version
    assert told[0].key() == told[2].key() != told[1].key()
    assert run({}).knowledge_of_edges().former("m", "input") == {}
    assert ResetRecord("m").since == NEVER


@given(st.data())
def test_moved_rows_keep_their_totals_and_the_others_their_bins(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1_000)))
    old, new = make_edges(rng.normal(0, 1, 500)).edges, make_edges(rng.normal(3, 2, 500)).edges
    samples = [rng.normal(1, 1, int(n)) for n in rng.integers(1, 50, 5)]
    ptr, at, n = [0], list[int](), list[int]()
    for sample in samples:
        bins, counts = np.unique(bin_values(old, sample), return_counts=True)
        at += bins.tolist()
        n += counts.tolist()
        ptr.append(len(at))
    filled = Bins(np.array(ptr), np.array(at), np.array(n))
    chosen = data.draw(st.sets(st.integers(0, 4)))
    low, high = np.array([s.min() for s in samples]), np.array([s.max() for s in samples])
    moved = filled.moved({row: Move(old, new) for row in chosen}, low, high)
    for row, sample in enumerate(samples):
        mine = slice(moved.ptr[row], moved.ptr[row + 1])
        assert int(moved.n[mine].sum()) == len(sample)
        assert (np.diff(moved.at[mine]) > 0).all() and (moved.at[mine] < BINS).all()
        if row not in chosen:
            assert moved.at[mine].tolist() == at[ptr[row] : ptr[row + 1]]
    gone = filled.moved({0: Move(None, new)}, low, high)
    assert gone.ptr[1] == 0 and int(gone.n.sum()) == sum(map(len, samples[1:]))
