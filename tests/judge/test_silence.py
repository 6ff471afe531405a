"""A model, a version or a segment that goes quiet while others go on is told, from its first day on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from stream_monitor.commands.explain import drawn
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Alert
from stream_monitor.rejudge.explain import explain
from stream_monitor.rejudge.log_replay import RejudgeTerms
from tests.judge.logs import recorded
from tests.screens import shown

T0 = 1_760_000_040_000
MINUTE = 60_000
BATCH = 2_000


def events(seconds: int, every: float, until: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """Models, versions and countries, each until a second of its own; `other` goes on until the end."""
    at, number = 0.0, 0
    while at < seconds:
        for name in ("other", "m 1 DE", "m 1 FR", "m 2 DE"):
            model, version, country = (*name.split(), "1", "DE")[:3]
            if at < until.get(name, seconds):
                number += 1
                event = {
                    "id": str(number), "ts": T0 + int(at * 1_000), "model": model, "version": version,
                    "prediction": True, "tags": {"country": country}, "features": {},
                }  # fmt: skip
                yield "predictions", json.dumps(event).encode()
        at += every


def silence(run: Any) -> list[tuple[str, str, str, str, int, str]]:
    return [
        (a["status"], a["model"], a["version"], a["segment"], (a["ts"] - T0) // 1_000, a["severity"])
        for a in run.alerts
        if a["kind"] == "silence"
    ]


@pytest.mark.parametrize(("every", "within"), [(1.0, 120), (20.0, 420)])
def test_a_model_that_goes_quiet_on_its_first_day_is_critical_at_once(every: float, within: int) -> None:
    seconds, gone = 7_200, 3_600
    run = recorded(Settings(), events(seconds, every, dict.fromkeys(("m 1 DE", "m 1 FR", "m 2 DE"), gone)), batch=BATCH)
    first, *others = silence(run)
    assert first[:4] == ("open", "m", "all", "all") and first[5] == "critical"
    assert gone < first[4] <= gone + within
    assert not others
    (reason,) = [a["reason"] for a in run.alerts if a["kind"] == "silence"]
    assert reason.startswith("m: no event for ") and "were expected, since " in reason


def test_a_version_and_a_segment_that_go_quiet_while_others_go_on_are_told_and_end() -> None:
    settings = Settings.model_validate({"segments": [["country"]]})
    stream = list(events(7_200, 1.0, {"m 2 DE": 3_600, "m 1 FR": 1_800}))
    back = [
        ("predictions", json.dumps({
            "id": f"back{i}", "ts": T0 + 7_200_000 + i * 1_000, "model": "m", "version": "2", "prediction": True,
            "tags": {"country": "DE"}, "features": {},
        }).encode())
        for i in range(600)
    ]  # fmt: skip
    found = [one for one in silence(recorded(settings, stream + back, batch=BATCH)) if one[1] == "m"]
    opened = {(version, segment): ts for status, _, version, segment, ts, _ in found if status == "open"}
    assert 1_800 < opened["1", "country=FR"] <= 2_100
    assert 3_600 < opened["2", "all"] <= 3_900 and 3_600 < opened["2", "country=DE"] <= 3_900
    ended = {(version, segment): ts for status, _, version, segment, ts, _ in found if status == "resolved"}
    assert 7_200 < ended["2", "all"] <= 7_400 and ("1", "country=FR") not in ended
    assert {severity for *_, severity in found} == {"warning"}


def test_a_version_that_another_one_replaces_is_not_silent() -> None:
    """Version 2 takes over from one moment to the next what version 1 had; both countries go on."""

    def events_of_a_release() -> Iterator[tuple[str, bytes]]:
        for at in range(7_200):
            for country in ("DE", "FR"):
                event = {
                    "id": f"{country}{at}", "ts": T0 + at * 1_000, "model": "m", "version": "1" if at < 3_600 else "2",
                    "prediction": True, "tags": {"country": country}, "features": {},
                }  # fmt: skip
                yield "predictions", json.dumps(event).encode()

    settings = Settings.model_validate({"segments": [["country"]]})
    assert silence(recorded(settings, events_of_a_release(), batch=BATCH)) == []


def test_a_segment_that_is_silent_for_a_day_counts_as_retired() -> None:
    settings = Settings.model_validate({"segments": [["country"]], "time": {"windows": ["1m"]}})
    run = recorded(settings, events(100_000, 20.0, {"m 1 FR": 3_600, "m 2 DE": 0}), batch=BATCH)
    found = [one for one in silence(run) if one[3] == "country=FR"]
    assert [one[0] for one in found] == ["open", "resolved"]
    assert 3_600 + 86_400 <= found[1][4] <= 3_600 + 86_400 + 120
    ended = [a["reason"] for a in run.alerts if (a["segment"], a["status"]) == ("country=FR", "resolved")]
    assert "m 1 [country=FR]: no event for 1d: it counts as retired" in ended


def test_an_alert_of_a_silent_model_is_explained() -> None:
    run = recorded(Settings(), events(7_200, 1.0, dict.fromkeys(("m 1 DE", "m 1 FR", "m 2 DE"), 3_600)), batch=BATCH)
    alerts = [msgspec.convert(alert, Alert) for alert in run.alerts if alert["kind"] == "silence"]
    explained = explain(RejudgeTerms(Settings(), obey_log=True), 0, run.log, alerts)
    assert explained.exact and explained.records == alerts
    text = shown(drawn(explained))
    assert "no event for" in text and "were expected" in text
