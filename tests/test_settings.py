from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_monitor.detect.window_tests import TOLERANCE
from stream_monitor.durations import format_duration, ms
from stream_monitor.errors import SettingsError
from stream_monitor.recorded import in_force, judged_text
from stream_monitor.sections import TESTS
from stream_monitor.settings import load, parse


def test_no_file_at_all_is_fine() -> None:
    assert load(None, {}).topic("predictions") == "stream-monitor.predictions"


def test_every_mistake_is_told_at_once_with_the_nearest_key() -> None:
    raw = {"time": {"pan": "1s", "windows": ["90"]}, "detection": {"persistance": 3}, "kafkaa": {}}
    with pytest.raises(SettingsError) as told:
        parse(raw)
    for text in (
        "4 mistake",
        "did you mean 'pane'",
        "did you mean 'persistence'",
        "did you mean 'kafka'",
        "not a duration",
    ):
        assert text in str(told.value)


@pytest.mark.parametrize(
    ("tolerance", "why"),
    [
        ({"pssi": 1.0}, "did you mean 'psi'"),
        ({"psi": -1.0}, "tolerance.psi"),
        ({"psi": float("nan")}, "tolerance.psi"),
        ({"volume": float("inf")}, "tolerance.volume"),
        ({"volume": 0.0}, "volume is a factor, at least 1"),
        ({"ks": 1.5}, "ks is at most 1, so 1.5 is never reached"),
    ],
)
def test_a_tolerance_is_of_a_test_and_a_number(tolerance: dict[str, float], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        parse({"detection": {"tolerance": tolerance}})
    assert set(TESTS) == set(TOLERANCE)


@pytest.mark.parametrize("key", ["page_hinkley_threshold", "page_hinkley_delta", "e_sr_arl0"])
def test_numbers_are_finite(key: str) -> None:
    with pytest.raises(SettingsError, match=key):
        parse({"detection": {key: float("inf")}})


def test_what_another_version_wrote_and_this_one_does_not_understand_counts_as_unset_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = json.loads(judged_text(parse({"detection": {"persistence": 5}, "time": {"pane": "3s", "windows": ["3m"]}})))
    log["detection"] |= {"of_a_newer_version": 3, "false_alarms": None, "recovery": "often"}
    log["detection"]["input"] = ["cusum", "of_a_newer_version"]
    log["caps"]["models"] = -1
    log["time"] |= {"max_skew": "never", "allowed_lateness": "1m"}
    log |= {"baseline": None, "shadow": {}}
    read = in_force(parse({"time": {"pane": "3s", "windows": ["3m"]}}), json.dumps(log))
    assert read == parse(
        {"detection": {"persistence": 5}, "time": {"pane": "3s", "windows": ["3m"], "allowed_lateness": "1m"}}
    )
    told = "\n".join(caplog.messages)
    for key in ("of_a_newer_version", "false_alarms", "recovery", "caps.models", "max_skew", "baseline", "shadow"):
        assert key in told
    assert len(caplog.messages) == 8


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("time", "pane", "a while"),
        ("time", "windows", ["1m", "1mo"]),
        ("join", "grain", "auto"),
        ("segments", None, [{"field": "country"}]),
        ("time", None, None),
    ],
)
def test_the_structure_is_never_guessed(section: str, key: str | None, value: object) -> None:
    base = parse({})
    log = json.loads(judged_text(base))
    if key is None:
        log[section] = value
    else:
        log[section][key] = value
    with pytest.raises(SettingsError, match=rf"recorded settings: \d mistake(.|\n)*{section}"):
        in_force(base, json.dumps(log))


def test_a_section_of_another_shape_counts_as_unset() -> None:
    base = parse({})
    log = json.loads(judged_text(base)) | {"detection": []}
    assert in_force(base, json.dumps(log)) == base


def test_a_section_that_is_refused_as_a_whole_keeps_the_structure() -> None:
    base = parse({"time": {"pane": "3s", "windows": ["3m"]}})
    log = json.loads(judged_text(base))
    log["time"] |= {"max_skew": "1h", "allowed_lateness": "1m"}  # not to be had together
    assert in_force(base, json.dumps(log)) == base


def test_tolerances_that_are_refused_now_stay_as_they_were_obeyed(caplog: pytest.LogCaptureFixture) -> None:
    log = json.loads(judged_text(parse({})))
    log["detection"]["tolerance"] = {"ks": 1.5, "psi": 0.5, "volume": 0.5, "pca_error": 3, "pssi": 1.0, "js": -1.0}
    assert in_force(parse({}), json.dumps(log)).detection.tolerance == {"ks": 1, "psi": 0.5, "pca_error": 0.5}
    assert [told for told in caplog.messages if ("volume" in told and "pssi" in told) or "js" in told]
    assert sorted(told.split("tolerance.")[1].split(":")[0] for told in caplog.messages) == ["js", "pssi", "volume"]


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("app: shop\ntime: {pane: 2s}\n")
    settings = load(file, {"STREAM_MONITOR__TIME__PANE": "5s", "STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS": "b:1"})
    assert (settings.app, settings.time.pane, settings.kafka.bootstrap_servers) == ("shop", 5_000, "b:1")


@pytest.mark.parametrize("text", ["500ms", "10s", "5m", "6h", "7d"])
def test_durations_are_written_as_they_are_read(text: str) -> None:
    assert format_duration(ms(text)) == text


@pytest.mark.parametrize("text", ["10", "", "ten s", "-1s", "1w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        ms(text)


def test_a_judge_takes_new_detection_settings_but_no_new_structure() -> None:
    base = parse({})
    louder = parse({"detection": {"persistence": 5}})
    assert in_force(base, judged_text(louder)).detection.persistence == 5
    with pytest.raises(SettingsError, match="choose another app name"):
        in_force(base, judged_text(parse({"time": {"pane": "2s"}})))
