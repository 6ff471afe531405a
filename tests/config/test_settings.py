from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_monitor.config.detection import WINDOW_TESTS
from stream_monitor.config.durations import format_duration, ms
from stream_monitor.config.recorded import applied, judged_text
from stream_monitor.config.settings import load, parse
from stream_monitor.errors import SettingsError


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


def test_a_test_is_chosen_for_measures_that_it_is_for() -> None:
    with pytest.raises(SettingsError, match="there is no categorical test 'ks'"):
        parse({"detection": {"categorical": ["ks"]}})
    with pytest.raises(SettingsError, match="there is no numeric test 'wasserstien'; did you mean"):
        parse({"detection": {"numeric": ["psi", "wasserstien"]}})
    for kind in ("numeric", "categorical", "joint"):
        names = [name for name, test in WINDOW_TESTS.items() if kind in test.kinds]
        assert parse({"detection": {kind: names}}).detection.model_dump()[kind] == tuple(names)


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
    read = applied(parse({"time": {"pane": "3s", "windows": ["3m"]}}), json.dumps(log))
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
        applied(base, json.dumps(log))


def test_a_section_of_another_shape_counts_as_unset() -> None:
    base = parse({})
    log = json.loads(judged_text(base)) | {"detection": []}
    assert applied(base, json.dumps(log)) == base


def test_a_section_that_is_refused_as_a_whole_keeps_the_structure() -> None:
    base = parse({"time": {"pane": "3s", "windows": ["3m"]}})
    log = json.loads(judged_text(base))
    log["time"] |= {"max_skew": "1h", "allowed_lateness": "1m"}  # not to be had together
    assert applied(base, json.dumps(log)) == base


def test_tolerances_that_are_refused_now_stay_as_they_were_obeyed(caplog: pytest.LogCaptureFixture) -> None:
    log = json.loads(judged_text(parse({})))
    log["detection"]["tolerance"] = {"ks": 1.5, "psi": 0.5, "volume": 0.5, "pca_error": 3, "pssi": 1.0, "js": -1.0}
    assert applied(parse({}), json.dumps(log)).detection.tolerance == {"ks": 1, "psi": 0.5, "pca_error": 0.5}
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
    assert applied(base, judged_text(louder)).detection.persistence == 5
    with pytest.raises(SettingsError, match="choose another app name"):
        applied(base, judged_text(parse({"time": {"pane": "2s"}})))


HOSTILE = [
    ("[" * 20_000, "line 1, column 21: lists and sections in each other more than 20 deep"),
    ("- " * 20_000, "more than 20 deep"),
    ("{a: " * 20_000, "more than 20 deep"),
    ("a: b\n" * 100_000, "has more than 262,144 bytes"),
    ("app: a\ntime: {pane: 1s}\napp: b\n", "line 3, column 1: this key stands there already"),
    ("time: {pane: 1s, pane: 2s}\n", "line 1, column 18: this key stands there already"),
    ("time:\n\tpane: 1s\n", "line 2, column 1: the line begins with a tab; YAML is indented with spaces"),
    ("caps: {models: 1" + "0" * 5_000 + "}", "a number or date cannot be read"),
    ("caps: {models: 1" + "0" * 40 + "}", "caps.models is a number of more than 64 bits"),
    ("app: 2026-99-99", "a number or date cannot be read"),
    ("segments: &x [*x]", "segments.0.0"),
    ("time: {pane: 1" + "0" * 400 + "d}", "longer than a hundred years"),
    ("time: {pane: 36501d}", "longer than a hundred years"),
    ("detection: {false_alarms: 1" + "0" * 400 + " per day}", "is no rate above 0 and up to 1e"),
    ("http: {port: 65536}", "http.port"),
    ("kafka: {bootstrap_servers: 'a:9092, b:99999'}", "'b:99999': a port is a number from 1 to 65535"),
    ("kafka: {bootstrap_servers: a:0}", "a port is a number"),
    ("kafka: {bootstrap_servers: 'a:" + "9" * 5_000 + "'}", "a port is a number"),
]


@pytest.mark.parametrize(("text", "why"), HOSTILE, ids=range(len(HOSTILE)))
def test_what_no_settings_are_is_told_at_once_with_the_files_name(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as told:
        load(file, {})
    assert str(file) in str(told.value) and why in str(told.value) and len(str(told.value)) < 1_000


@pytest.mark.parametrize("value", ["[" * 20_000, "1" * 5_000, "1" * 40, "{a: 1, a: 2}"], ids=range(4))
def test_a_variable_has_the_same_bounds(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^STREAM_MONITOR__CAPS__MODELS"):
        load(None, {"STREAM_MONITOR__CAPS__MODELS": value})


def test_a_variable_has_few_parts() -> None:
    with pytest.raises(SettingsError, match="too many parts"):
        load(None, {"STREAM_MONITOR__" + "A__" * 20_000: "1"})


def test_a_mistake_names_the_variable_that_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"environment: 1 mistake(.|\n)*__TIME__PAN: time.pan: unknown"):
        load(None, {"STREAM_MONITOR__TIME__PAN": "1s"})
    file = tmp_path / "settings.yaml"
    file.write_text("time: {pane: 7s}\njoin: {grain: often}\n")
    with pytest.raises(SettingsError) as told:
        load(file, {"STREAM_MONITOR__TIME__WINDOWS": "[1m]"})
    assert "  STREAM_MONITOR__TIME__WINDOWS: time: window 1m is no multiple of 7s" in str(told.value)
    assert "  join.grain: " in str(told.value)


@pytest.mark.parametrize(
    "name", ["STREAM_MONITOR_KAFKA__BOOTSTRAP_SERVERS", "STREAM_MONITOR__KAFKA_BOOTSTRAP_SERVERS",
             "STREAM_MONITOR_KAFKA_BOOTSTRAP_SERVERS"],
)  # fmt: skip
def test_other_underscores_are_told_with_the_right_name(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is no setting.*STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS"):
        load(None, {name: "broker:9092"})


def test_a_variable_that_resembles_a_setting_is_told(caplog: pytest.LogCaptureFixture) -> None:
    load(None, {"STREAM_MONITOR_KAFKA_BOOTSTRAP_SERVER": "broker:9092"})
    assert "did you mean STREAM_MONITOR__KAFKA__BOOTSTRAP_SERVERS?" in caplog.text


def test_what_kubernetes_says_of_a_service_is_no_setting(caplog: pytest.LogCaptureFixture) -> None:
    """A service named `stream-monitor-http` makes such variables in every pod."""
    of_service = {
        "STREAM_MONITOR_HTTP_PORT": "tcp://10.0.0.1:9464",
        "STREAM_MONITOR_HTTP_SERVICE_HOST": "10.0.0.1",
        "STREAM_MONITOR_HTTP_SERVICE_PORT": "9464",
        "STREAM_MONITOR_HTTP_PORT_9464_TCP": "tcp://10.0.0.1:9464",
        "STREAM_MONITOR_HTTP_PORT_9464_TCP_PORT": "9464",
        "STREAM_MONITOR_PORT_9464_TCP_ADDR": "10.0.0.1",
    }
    assert load(None, of_service) == load(None, {})
    assert not caplog.messages


@pytest.mark.parametrize(
    ("sections", "why"),
    [
        ({"segments": "country"}, "segments: must be a list of lists of fields: write [[country]]"),
        ({"segments": ["country"]}, "segments.0: must be a list of lists of fields: write [[country]]"),
        ({"time": {"windows": "1m"}}, "time.windows: must be a list: write [1m]"),
        ({"detection": {"outcome": "cusum"}}, "detection.outcome: must be a list: write [cusum]"),
    ],
)
def test_how_to_write_a_list_is_told(sections: dict[str, object], why: str) -> None:
    with pytest.raises(SettingsError) as told:
        parse(sections)
    assert why in str(told.value)


@pytest.mark.parametrize("servers", ["broker", "a:1,b:65535", "[::1]:9092", "SSL://a:9092", "::1"])
def test_servers_may_be_written_in_all_ways_of_the_client(servers: str) -> None:
    assert parse({"kafka": {"bootstrap_servers": servers}}).kafka.bootstrap_servers == servers
