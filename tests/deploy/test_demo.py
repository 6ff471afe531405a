"""The demo: its settings, in containers and on a terminal, its feed, and its canaries."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from stream_monitor.config.settings import load
from stream_monitor.demo.canaries import CANARIES, Rollouts, Router
from stream_monitor.demo.feed import DAY, by_day
from stream_monitor.demo.flights import LEARN_UNTIL, PACKAGE, data
from stream_monitor.demo.flights import events as events_of
from stream_monitor.demo.show import MORNING, settings
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.file_replay import Replay
from stream_monitor.stages.contract import Output

FILE = Path(__file__).parents[2] / "deploy" / "demo.yaml"


def test_the_settings_are_those_of_the_command() -> None:
    ours = load(FILE, environ={}).model_dump(exclude={"http"})
    assert ours == settings().model_dump(exclude={"http"})


def test_the_data_are_read_without_importing_their_package() -> None:
    weather = data("weather.csv")
    assert {"origin", "time_hour", "temp"} <= set(weather) and len(weather) > 26_000
    assert PACKAGE not in sys.modules


def test_events_are_fed_day_by_day() -> None:
    events = [("predictions", str(at), b'{"ts":%d}' % (LEARN_UNTIL + at * DAY // 2)) for at in range(5)]
    days = [(day, [name for _, name, _ in found]) for day, found in by_day(iter(events))]
    assert days == [(LEARN_UNTIL, ["0", "1"]), (LEARN_UNTIL + DAY, ["2", "3"]), (LEARN_UNTIL + 2 * DAY, ["4"])]
    days = [(day - LEARN_UNTIL, [name for _, name, _ in found]) for day, found in by_day(iter(events), MORNING)]
    assert days == [(MORNING - DAY, ["0"]), (MORNING, ["1", "2"]), (MORNING + DAY, ["3", "4"])]


# --- the canaries ---


class Year:
    """The demo's flights from some days before the first canary on, day by day, through both stages; no broker."""

    def __init__(self) -> None:
        self.rollouts, self.published = Rollouts(), list[RolloutDecision]()
        self.replay = Replay(settings(), self._keep)
        self.routed: list[tuple[dict[str, float], int, int]] = []
        """By day: the published weights, flights of the candidate, flights."""

    def _keep(self, output: Output) -> None:
        if output.role == "decisions":
            decision = msgspec.json.decode(output.value, type=RolloutDecision)
            self.published.append(decision)
            self.rollouts.take(decision)

    def run(self) -> Year:
        router, begin = self.rollouts.router, CANARIES[0].since
        for day, events in by_day(events_of(router.version_for, begin - 12 * DAY), MORNING):
            if day > CANARIES[-1].since + 10 * DAY:
                break
            for record in self.rollouts.due(day + DAY):
                self.replay.order(record)
            weights, newest = dict(router.weights), max(router.weights)
            versions = [json.loads(raw)["version"] for role, _, raw in events if role == "predictions"]
            self.routed.append((weights, versions.count(newest), len(versions)))
            self.replay.feed((role, raw) for role, _, raw in events)
        self.replay.finish()
        return self


@pytest.fixture(scope="module")
def year() -> Year:
    return Year().run()


def test_the_better_version_is_promoted_and_the_worse_one_rolled_back(year: Year) -> None:
    assert [(one.rollout, one.decision) for one in year.published if one.decision not in ("progress", "hold")] == [
        ("flights-2", "started"), ("flights-2", "promoted"), ("flights-3", "started"), ("flights-3", "rolled_back"),
    ]  # fmt: skip
    assert year.rollouts.as_planned and year.rollouts.router.weights == {"2": 1.0}
    holds = {hold for one in year.published for hold in one.holds}
    assert holds <= {"suspicion"}, "the router follows: the split is not suspected"
    told = "\n".join(str(part) for line in year.rollouts.told() for part in line.pieces)
    assert "promoted" in told and "rolled back" in told and "NOT DECIDED" not in told


def test_each_number_of_a_rollout_is_decided_once(year: Year) -> None:
    for canary in CANARIES:
        numbers = [one.seq for one in year.published if one.rollout == canary.rollout]
        assert numbers == list(range(1, len(numbers) + 1))
        assert [one.seq for one in year.rollouts.decisions if one.rollout == canary.rollout] == numbers


def test_flights_are_drawn_by_the_published_weights(year: Year) -> None:
    published = [{"1": 1.0}, *(one.weights for one in year.published)]
    assert all(weights in published for weights, _, _ in year.routed)
    for weights in ({"1": 0.85, "2": 0.15}, {"2": 0.9, "3": 0.1}):
        days = [(sent, flights) for drawn, sent, flights in year.routed if drawn == weights]
        sent, flights = (sum(column) for column in zip(*days, strict=True))
        share = weights[max(weights)]
        assert abs(sent - share * flights) < 5 * (share * (1 - share) * flights) ** 0.5
    alone = [flights - sent for drawn, sent, flights in year.routed if drawn == {"2": 1.0}]
    assert len(alone) > 15 and max(alone) <= 1, "the first flight of a day is drawn with the day before"


def test_a_router_applies_no_older_decision(year: Year) -> None:
    router = Router()
    assert [router.apply(one) for one in reversed(year.published) if one.rollout == "flights-2"].count(True) == 1
    assert router.weights == {"2": 1.0}
    assert len({router.version_for(f"f{at}") for at in range(100)}) == 1


def test_an_order_is_due_once_and_the_feed_stays_close_while_a_canary_runs() -> None:
    rollouts, first = Rollouts(), CANARIES[0]
    assert not list(rollouts.due(first.since)) and not rollouts.is_near(first.since - 3 * DAY)
    assert [record.rollout for record in rollouts.due(first.since + 1)] == ["flights-2"]
    assert not list(rollouts.due(first.since + DAY)) and rollouts.is_near(first.since + 20 * DAY)
