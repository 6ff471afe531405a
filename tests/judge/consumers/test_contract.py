"""A new consumer of closed windows is a class and a line of the table; its state survives crashes by itself."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from stream_monitor.errors import FormatError
from stream_monitor.events.contracts import Alert
from stream_monitor.file_replay import Replay
from stream_monitor.judge.consumers import registry
from stream_monitor.judge.consumers.contract import ClosedWindow, ConsumerOutput, RaisedAlert, WindowConsumer
from stream_monitor.judge.consumers.registry import CONSUMERS
from stream_monitor.judge.model import ModelJudge
from stream_monitor.judge.model_state import new_state
from stream_monitor.judge.timelines.timeline import WindowEmpty
from stream_monitor.profiles.names import OTHER
from stream_monitor.wire.msgpack_arrays import as_kind, pack, unpack
from tests.schedules import by_cluster, by_replay
from tests.streams import quick_settings, shop


class Counts(msgspec.Struct):
    """Windows and raised alerts since the beginning."""

    windows: int = 0
    raised: dict[tuple[str, str], int] = {}


class EveryThirdWindow(WindowConsumer[Counts]):
    """Publishes an alert at each third window of predictions that names all alerts so far."""

    name, State = "every_third", Counts

    def on_alert(self, raised: RaisedAlert) -> None:
        """Count it, if it is of the timeline whose windows it is published with."""
        if raised.timeline.state.name == "input":
            key = raised.alert.measure, raised.alert.status
            self.state.raised[key] = self.state.raised.get(key, 0) + 1

    def on_window(self, closed: ClosedWindow) -> Iterator[ConsumerOutput]:
        """Count it."""
        if closed.timeline.state.name == "input":
            yield from self._count(closed.window.end)

    def on_empty_window(self, empty: WindowEmpty) -> Iterator[ConsumerOutput]:
        """Count it, too."""
        if empty.timeline.state.name == "input":
            yield from self._count(empty.start + empty.size)

    def _count(self, end: int) -> Iterator[Alert]:
        self.state.windows += 1
        if self.state.windows % 3 == 0:
            raised = ", ".join(f"{m} {s} {n}" for (m, s), n in sorted(self.state.raised.items()))
            yield Alert(
                id=f"{self.context.model}-{self.state.windows}", status="open", revision=0, ts=end, opened_ts=end,
                model=self.context.model, version="1", segment="all", measure="count", group="input", kind="drift",
                severity="info", reason=raised, findings=[],
            )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_new_consumer_is_exact_under_crashes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its state has no field anywhere else: it travels with the snapshots of the judge."""
    rules = quick_settings(commit={"snapshot_interval": "2s"}, caps={"models": 77})  # replays are kept by settings
    events = shop(3, 700)
    monkeypatch.setattr(registry, "CONSUMERS", (*CONSUMERS, EveryThirdWindow))
    metrics, alerts = by_replay(events, rules)
    own = [alert for alert in alerts.values() if alert["measure"] == "count"]
    assert len(own) >= 4 and any("amount open 1" in alert["reason"] for alert in own)
    assert by_cluster(events, rules, (2, 2), seed, 0.02) == (metrics, alerts)


def test_names_are_unique_and_the_other_models_are_not_judged() -> None:
    assert len({kind.name for kind in CONSUMERS}) == len(CONSUMERS)
    judge = ModelJudge(new_state(OTHER, quick_settings()), quick_settings())
    assert [consumer.name for consumer in judge.consumers] == ["metrics", "health"]


def test_every_state_is_read_back_as_it_was_written() -> None:
    run = Replay(quick_settings(), lambda output: None)
    run.feed([(event.role, event.raw) for event in shop(3, 700)])
    for judge in run.judge.assignments[0].judge.models.values():
        states = {consumer.name: consumer.state for consumer in judge.consumers}
        assert states["volume"].ranges and states["health"].published is not None
        read = unpack(pack(states), dict)
        assert {c.name: as_kind(read[c.name], c.State) for c in judge.consumers} == states


def test_a_preview_changes_no_state() -> None:
    run = Replay(quick_settings(), lambda output: None)
    run.feed([(event.role, event.raw) for event in shop(3, 700)])
    partition = run.judge.assignments[0].judge
    for judge in partition.models.values():
        before = pack(judge.saved_state())
        assert list(judge.preview(partition.state.watermarks))
        assert pack(judge.saved_state()) == before


def test_a_state_of_another_shape_is_refused() -> None:
    state = new_state("m", quick_settings())
    state.consumers["volume"] = {"ranges": 7}
    with pytest.raises(FormatError, match="VolumeState"):
        ModelJudge(state, quick_settings())
