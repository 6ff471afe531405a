"""Labels or feedback that stop coming while predictions go on ring, by broker time; what never came does not."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from stream_monitor.commands.explain import drawn
from stream_monitor.detect.windows.pauses import Pauses
from stream_monitor.detect.windows.quiet import LEAST
from stream_monitor.events.contracts import Alert, Health
from stream_monitor.judge.label_arrivals import LabelArrivals
from stream_monitor.profiles.records import PartitionTime, WatermarkRecord, read_record
from stream_monitor.rejudge.explain import explain
from stream_monitor.rejudge.log_replay import RejudgeTerms
from stream_monitor.stages.topology import partition_of
from tests.cases.test_intake import PARTITIONS, App, Send, event, nothing
from tests.screens import shown

STEP = 20_000
"""ms of broker time from step to step: three steps are a minute."""
MINUTE = 60_000
Sent = list[tuple[str, str, dict[str, Any]]]


def shop(app: App, without: tuple[str, ...] = ()) -> Send:
    """Predictions of three models; `m` and `n` get labels and feedback a step later, but for what is left out."""
    before: list[tuple[int, str]] = []

    def send(now: int, rng: random.Random) -> Sent:
        sent: Sent = []
        for i, model in before:
            if f"{model} labels" not in without:
                sent.append(("labels", f"e{i}", {"id": f"e{i}", "ts": now, "label": True}))
            if f"{model} feedback" not in without:
                sent.append(("feedback", f"e{i}", {"id": f"e{i}", "ts": now, "signals": {"click": 1}}))
        made = [(app.counter(), model) for model in ("m", "n", "never") if f"{model} predictions" not in without]
        before[:] = [one for one in made if one[1] != "never"]
        return sent + [("predictions", f"e{i}", event(i, now, model=model)) for i, model in made]

    return send


def silences(app: App) -> list[Alert]:
    return [alert for alert in app.of("alerts", Alert) if alert.kind == "silence"]


def test_labels_that_stop_are_told_and_end_when_they_come_again() -> None:
    app = App()
    app.run(70 * 3, shop(app), STEP)
    assert silences(app) == []
    stopped = app.cluster.now
    app.run(15 * 3, shop(app, ("m labels",)), STEP)
    (alert,) = silences(app)
    assert (alert.status, alert.model, alert.measure, alert.severity) == ("open", "m", "labels", "critical")
    assert (alert.version, alert.segment, alert.group) == ("all", "all", "outcome")
    assert stopped - 2 * MINUTE <= alert.opened_ts <= stopped and alert.ts - stopped <= (LEAST + 3) * MINUTE
    assert alert.reason.startswith("m: no labels came in 12m of predictions (usual gaps are up to 1m), since ")
    health = [health for health in app.of("health", Health) if health.model == "m"][-1]
    assert [one.id for one in health.open] == [alert.id]
    app.run(6, shop(app), STEP)
    _, ended = silences(app)
    assert (ended.status, ended.id, ended.reason) == ("resolved", alert.id, "m: labels come again")


def test_feedback_that_stops_is_told() -> None:
    app = App()
    app.run(70 * 3, shop(app), STEP)
    app.run(15 * 3, shop(app, ("n feedback",)), STEP)
    assert [(a.status, a.model, a.measure, a.group) for a in silences(app)] == [("open", "n", "feedback", "human")]


@pytest.mark.parametrize("seed", range(2))
def test_crashes_change_nothing(seed: int) -> None:
    app = App(seed, crashes=0.02)
    app.run(75 * 3, shop(app), STEP)
    app.run(16 * 3, shop(app, ("m labels",)), STEP)
    app.run(10, shop(app), STEP)
    app.cluster.crashes = 0.0
    app.run(6, shop(app), STEP)
    found = [(a.status, a.model, a.measure, a.revision) for a in silences(app) if a.model != "__all__"]
    assert found == [("open", "m", "labels", 0), ("resolved", "m", "labels", 1)]


def test_a_model_that_pauses_and_a_worker_that_is_down_make_no_labels_silent() -> None:
    app = App()
    app.run(70 * 3, shop(app), STEP)
    app.run(30 * 3, shop(app, ("m predictions", "m labels", "m feedback")), STEP)
    assert [a.measure for a in silences(app) if a.measure != "volume"] == []
    app.run(3, shop(app), STEP)
    app.cluster.now += 8 * 3_600_000  # all workers are down
    app.run(6, shop(app), STEP)
    app.run(30 * 3, nothing, STEP)
    assert [a.measure for a in silences(app) if a.measure != "volume"] == []


def test_what_is_not_read_to_its_end_is_not_silent() -> None:
    """A worker that is behind with the labels of one partition of two."""
    state = LabelArrivals()
    times = [PartitionTime(number, 1, 1, 1, 1, False, False, True, True) for number in range(2)]
    state.take_watermarks(WatermarkRecord(2, times))
    assert state.read == {"labels": {0, 1}, "feedback": {0, 1}}
    behind = msgspec.structs.replace(times[1], labels_read=False)
    state.take_watermarks(WatermarkRecord(2, [behind]))
    assert state.read == {"labels": {0}, "feedback": {0, 1}}
    former = msgspec.msgpack.decode(msgspec.msgpack.encode([0, 1, 1, 1, 1, False, False]), type=PartitionTime)
    assert not former.labels_read and not former.feedback_read


def test_an_alert_of_labels_is_explained() -> None:
    app = App()
    app.run(70 * 3, shop(app), STEP)
    app.run(15 * 3, shop(app, ("m labels",)), STEP)
    alerts, number = silences(app), partition_of("m", PARTITIONS)
    records, _ = app.cluster.broker.visible(("profiles", number), 0, 10**9)
    log = [(read_record(record.raw or b""), record.arrived) for record in records]
    found = explain(RejudgeTerms(app.cluster.rules, obey_log=True), number, log, alerts)
    assert found.exact and found.records == alerts
    assert "no labels came in 12m of predictions" in shown(drawn(found)) and "silence 12m (12m)" in shown(drawn(found))


@pytest.mark.parametrize("rate", [1.0, 0.2, 0.05])
def test_items_that_come_independently_are_silent_less_than_once_in_ten_weeks(rate: float) -> None:
    """Forty weeks of minutes, each with Poisson(rate) items."""
    rng, rings = random.Random(7), 0
    for _ in range(10):
        stream, silent = Pauses(), False
        for _ in range(4 * 7 * 1_440):
            if rng.random() < rate * (1 - rate / 2 + rate**2 / 6):  # 1 - exp(-rate), nearly
                stream.arrive()
                silent = False
            elif stream.wait(10):
                rings, silent = rings + (not silent), True
    assert rings <= 4


def test_pauses_that_recur_are_usual_from_the_third_on_and_one_outage_teaches_nothing() -> None:
    stream, rung, silent = Pauses(), list[int](), False
    for minute in range(28 * 1_440):
        if 540 <= minute % 1_440 < 1_080:
            stream.arrive()
            silent = False
        elif stream.wait(10) and not silent:
            rung, silent = [*rung, minute // 1_440], True
    assert rung == [0, 1]
    stream = Pauses()
    for _ in range(2):
        for _ in range(3_000):
            stream.arrive()
        assert [stream.wait(10) for _ in range(2_000)].index(True) + 1 < 25


def test_a_batch_a_day_is_never_silent_until_it_does_not_come() -> None:
    stream = Pauses()
    for minute in range(60 * 1_440):
        if minute % 1_440 < 5:
            stream.arrive()
        else:
            assert not stream.wait(10)
    late = [stream.wait(10) for _ in range(3 * 1_440)].index(True)
    assert late < 1_440  # it is told within a day after its hour
