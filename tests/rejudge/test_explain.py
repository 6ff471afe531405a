"""An alert explained: rebuilt from its log, with what its detectors saw before and after."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest

from stream_monitor.commands.explain import drawn
from stream_monitor.config.settings import Settings
from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.contracts import Alert
from stream_monitor.profiles.records import PartitionTime, SettingsRecord, WatermarkRecord
from stream_monitor.rejudge.explain import Explanation, Series, explain, find
from stream_monitor.rejudge.log_replay import RejudgeTerms, judge_again
from tests.judge.alerts.test_attribution import CHANGE, events_of, germany_trebles
from tests.judge.logs import Recorded, recorded
from tests.screens import shown
from tests.streams import T0, quick_settings

AT = T0 + CHANGE * 1_000


def rules(**changes: Any) -> Settings:
    detection = quick_settings().detection.model_dump(mode="json") | {"false_discovery_rate": 0.001, **changes}
    return quick_settings(segments=[["country"]], baseline={"first": 300}, detection=detection)


@pytest.fixture(scope="module")
def live() -> Recorded:
    """Windows judge inputs, CUSUMs outcomes; a limit is broken, and volume is what it was."""
    settings = rules(input=[], outcome=["cusum"], limits=["amount.p50 > 12"])
    return recorded(settings, events_of(germany_trebles, wrong=lambda after: 0.6 if after else 0.2))


def published(live: Recorded, measure: str, kind: str = "drift", segment: str = "all") -> list[Alert]:
    alerts = [msgspec.convert(alert, Alert) for alert in live.alerts]
    first = next(a for a in alerts if (a.measure, a.kind, a.segment, a.status) == (measure, kind, segment, "open"))
    return find(alerts, first.id)


def explained(live: Recorded, alerts: list[Alert]) -> Explanation:
    return explain(RejudgeTerms(rules(), obey_log=True), 0, live.log, alerts)


def series_of(found: Explanation, detector: str) -> Series:
    (series,) = [one for one in found.series if one.detector == detector]
    return series


def test_an_alert_of_a_window_test_shows_its_windows_before_and_after(live: Recorded) -> None:
    alerts = published(live, "amount")
    found = explained(live, alerts)
    assert found.exact and found.records == alerts
    assert {one.detector for one in found.series} == {"psi", "ks"}
    psi = series_of(found, "psi")
    assert psi.size == 10_000 and len(psi.points) >= 8
    opening = found.records[0]
    for point in psi.points:
        assert point.threshold == 0.1
        assert point.ts <= AT or point.score > 0.2
    score = {f.detector: f.score for f in opening.findings}["psi"]
    assert [p.score for p in psi.points if p.ts == opening.ts] == [score]
    assert any(other.segment == "country=DE" and other.measure == "amount" for other in found.others)
    assert all(other.id != opening.id for other in found.others)


def test_an_alert_of_a_cusum_shows_its_statistic_from_pane_to_pane(live: Recorded) -> None:
    alerts = published(live, "error")
    found = explained(live, alerts)
    assert found.exact and found.records == alerts
    (finding,) = found.records[0].findings
    points = {point.ts: point for point in series_of(found, "cusum").points}
    assert points[found.records[0].ts].score == finding.score > finding.threshold
    assert points[found.records[0].ts].threshold == finding.threshold
    since = finding.change_ts
    assert since is not None and abs(since - AT) <= 5_000
    rising = [points[ts].score for ts in sorted(points) if since <= ts <= found.records[0].ts]
    calm = [points[ts].score for ts in sorted(points) if ts < since]
    assert len(calm) >= 20 and max(calm) < finding.threshold
    assert len(rising) >= 2 and rising[-1] == max(rising)


def test_a_broken_limit_shows_the_value_that_it_is_about(live: Recorded) -> None:
    found = explained(live, published(live, "amount", "limit", "country=DE"))
    (series,) = found.series
    assert series.detector == "amount.p50 > 12"
    assert all((point.score > 12) == (point.ts > AT) for point in series.points)


def test_looking_changes_nothing_that_is_said(live: Recorded) -> None:
    for alert_id in {alert["id"] for alert in live.alerts}:
        alerts = find([msgspec.convert(alert, Alert) for alert in live.alerts], alert_id)
        found = explained(live, alerts)
        assert found.exact
        assert sorted(found.records, key=key_of) == sorted(alerts, key=key_of)


def test_an_alert_is_explained_where_the_settings_are_the_last_record(live: Recorded) -> None:
    """As on a topic that workers filled before a judge started: its watermarks pass the alert, and no pane closes."""
    alerts = published(live, "amount")
    log = sorted(live.log, key=lambda entry: isinstance(entry[0], SettingsRecord))
    found = explain(RejudgeTerms(rules(), obey_log=True), 0, iter(log), alerts)
    assert found.exact and found.records == alerts


def key_of(alert: Alert) -> tuple[str, int]:
    return alert.status, alert.revision


def test_it_is_drawn_for_a_person_and_fits_as_data(live: Recorded) -> None:
    for measure, words in {
        "amount": ["what moved", "country=DE", "baseline │", "psi", "labels: ", "windows of 10s", "│", "outcome"],
        "error": ["cusum: began about", "σ", "panes, at most", "threshold", "what moved since 2023-", "baseline │"],
    }.items():
        found = explained(live, published(live, measure))
        text = shown(drawn(found))
        for word in words:
            assert word in text, f"{measure}: {word}\n{text}"
        assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found


def test_an_alert_of_a_sliding_window_shows_one_every_slide() -> None:
    time = {"pane": "1s", "windows": ["10s", "20s/2s"], "allowed_lateness": "5s", "max_skew": "1s"}
    few = {"psi": 9.0, "ks": 1.0, "missing": 1.0}
    settings = rules(input=[], outcome=[], tolerance=few, limits=["amount.p50 > 11"], min_count=20, persistence=3)
    settings = settings.model_copy(update={"time": quick_settings(time=time).time})
    run = recorded(settings, events_of(germany_trebles))
    (first, *_) = [a for a in run.alerts if a["status"] == "open" and a["segment"] == "country=DE"]
    assert first["ts"] - first["opened_ts"] == 20_000 and first["ts"] % 10_000
    found = explain(
        RejudgeTerms(settings, obey_log=True),
        0,
        run.log,
        find([msgspec.convert(a, Alert) for a in run.alerts], first["id"]),
    )
    assert found.exact
    (series,) = found.series
    assert (series.size, series.slide) == (20_000, 2_000)
    assert {b.ts - a.ts for a, b in itertools.pairwise(series.points)} == {2_000}
    assert "windows of 20s every 2s" in shown(drawn(found))


def test_an_id_must_be_there_and_say_enough(live: Recorded) -> None:
    alerts = [msgspec.convert(alert, Alert) for alert in live.alerts]
    with pytest.raises(StreamMonitorError, match="no alert has an id that begins with 'zzz'"):
        find(alerts, "zzz")
    with pytest.raises(StreamMonitorError, match="no alert"):
        find(alerts, "")
    first = alerts[0].id
    assert {alert.id for alert in find(alerts, first[:12])} == {first}
    twin = msgspec.structs.replace(alerts[0], id=first[:12] + "x")
    with pytest.raises(StreamMonitorError, match="2 alerts have ids that begin with"):
        find([*alerts, twin], first[:12])


def test_an_alert_whose_profiles_have_expired_says_so(live: Recorded) -> None:
    alerts = published(live, "amount")
    terms = RejudgeTerms(rules(), obey_log=True, whole=False, catalog=live.knowledge_of_edges())
    with pytest.raises(StreamMonitorError, match="have expired: it opened at"):
        explain(terms, 0, live.log[-5:], alerts)
    with pytest.raises(StreamMonitorError, match="and none are left"):
        explain(terms, 0, [], alerts)
    with pytest.raises(StreamMonitorError, match="do not lead to alert"):
        explain(RejudgeTerms(rules(), obey_log=True), 0, live.log[:10], alerts)


def idle(live: Recorded, after: int, ts: int, now: bool = True) -> tuple[WatermarkRecord, int]:
    """What a worker says, so many ms after the log's last record, of its partition that has come as far as `ts`."""
    return WatermarkRecord(1, [PartitionTime(0, ts - 5_000, ts - 5_000, ts - 5_000, ts, now, False)]), live.log[-1][
        1
    ] + after


@pytest.fixture(scope="module")
def silent() -> tuple[Recorded, list[Alert]]:
    """All is idle for a quarter of an hour, in which a worker begins anew; then events come again."""
    run, last = Recorded(rules()), T0 + 60_000
    for at, event in enumerate(events_of(germany_trebles, seconds=60)):
        run.feed([event]) if at % 400 == 0 else run.driver.feed([event])
    run.commit()
    told = [
        idle(run, 1_000, last), idle(run, 601_500, last), idle(run, 602_000, last, now=False),
        idle(run, 603_000, last), idle(run, 1_300_000, last), idle(run, 1_301_000, last + 60_000, now=False),
    ]  # fmt: skip
    run.log += told
    said = list(judge_again(RejudgeTerms(rules(), obey_log=True), 0).process(run.log))
    return run, [
        alert for alert in said if isinstance(alert, Alert) and (alert.kind, alert.model) == ("silence", "__all__")
    ]


def test_silence_is_one_alert_until_events_come_again(silent: tuple[Recorded, list[Alert]]) -> None:
    _, alerts = silent
    assert [(alert.status, alert.revision) for alert in alerts] == [("open", 0), ("resolved", 1)]
    assert alerts[0].reason.startswith("all models: nothing has come for 10m (tolerated: 10m), since 22:14 UTC")
    assert alerts[1].reason == "all models: events come again" and alerts[1].id == alerts[0].id


def test_an_alert_of_silence_is_explained(silent: tuple[Recorded, list[Alert]]) -> None:
    run, alerts = silent
    found = explain(RejudgeTerms(rules(), obey_log=True), 0, run.log, find(alerts, alerts[0].id))
    assert found.exact and found.records == alerts
    text = shown(drawn(found))
    for word in ("nothing has come for 10m (tolerated: 10m)", "open", "resolved", "silence 10m (10m)"):
        assert word in text, text
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found
    short = explain(RejudgeTerms(rules(), obey_log=True), 0, run.log[:-1], alerts[:1])
    assert short.exact and [alert.status for alert in short.records] == ["open"]
