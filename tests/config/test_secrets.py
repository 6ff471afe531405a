"""A secret comes from a file or the environment, reaches the client that needs it, and is shown by nothing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_monitor.config.recorded import applied, judged_text
from stream_monitor.config.secrets import MAX_BYTES, is_secret
from stream_monitor.config.settings import load, parse
from stream_monitor.errors import SettingsError

SECRET = "@hunter2: *x"
VARIABLE = "STREAM_MONITOR__KAFKA__OPTIONS__SASL_PASSWORD"


def with_option(folder: Path, name: str, value: str) -> Path:
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"kafka": {"options": {name: value}}}))
    return file


@pytest.mark.parametrize(
    ("option", "secret"),
    [
        ("sasl.password", True),
        ("ssl.key.password", True),
        ("ssl.key.pem", True),
        ("ssl.keystore.password", True),
        ("sasl.oauthbearer.client.secret", True),
        ("sasl.oauthbearer.assertion.private.key.passphrase", True),
        ("sasl.jaas.config", True),
        ("sasl.username", False),
        ("ssl.ca.location", False),
        ("ssl.key.location", False),
        ("sasl.oauthbearer.token.endpoint.url", False),
    ],
)
def test_the_names_of_options_tell_which_are_secret(option: str, secret: bool) -> None:
    assert is_secret(("kafka", "options", option)) is secret


@pytest.mark.parametrize("name", [VARIABLE, "STREAM_MONITOR__KAFKA__OPTIONS__sasl.password"])
def test_a_variable_sets_one_option_to_the_letter(name: str) -> None:
    options = load(None, {name: SECRET, "STREAM_MONITOR__KAFKA__OPTIONS": "{sasl.username: app}"}).kafka
    assert options.client_options() == {"sasl.username": "app", "sasl.password": SECRET}


def test_an_option_with_an_underscore_of_its_own_keeps_it() -> None:
    assert load(None, {"STREAM_MONITOR__KAFKA__OPTIONS__LOG_LEVEL": "3"}).kafka.options == {"log_level": 3}


def test_any_option_may_come_from_a_file_and_is_a_secret_then(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("app\n")
    kafka = load(with_option(tmp_path, "sasl.username", f"file:{tmp_path / 'user'}"), {}).kafka
    assert kafka.client_options() == {"sasl.username": "app"}
    assert "app" not in str(kafka.options)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"\n", "it is empty"),
        (b"\xffhunter2", "it is no text"),
        (b"hunter2" * MAX_BYTES, "it is no secret"),
    ],
)
def test_a_file_that_cannot_be_a_secret_is_named_with_the_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError, match=reason) as told:
        load(with_option(tmp_path, "sasl.password", f"file:{file}"), {})
    assert f"kafka.options.sasl.password: cannot read '{file}'" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_nothing_that_prints_settings_shows_a_secret() -> None:
    settings = load(None, {VARIABLE: SECRET})
    shown = [
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        judged_text(settings),
        str(settings.model_dump()),
    ]
    assert not any("hunter2" in text for text in shown)


def test_secrets_go_to_workers_and_survive_new_detection_settings() -> None:
    settings = pickle.loads(pickle.dumps(load(None, {VARIABLE: SECRET})))
    louder = applied(settings, judged_text(parse({"detection": {"persistence": 5}})))
    assert louder.kafka.client_options() == {"sasl.password": SECRET}


@pytest.mark.parametrize("value", [123, ["hunter2"], {"a": "hunter2"}])
def test_a_secret_that_is_no_text_is_one_mistake_that_quotes_nothing(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"1 mistake.*\n.*sasl.password must be text") as told:
        parse({"kafka": {"options": {"sasl.password": value}}})
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize("text", ["*hunter2", "!hunter2 x", "@hunter2", '"hunter2', "a: b: hunter2", "{hunter2"])
def test_broken_yaml_is_told_by_its_place_and_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"kafka:\n  options:\n    sasl.password: {text}\n")
    for path, environ in ((file, {}), (None, {"STREAM_MONITOR__KAFKA__OPTIONS": f"sasl.password: {text}"})):
        with pytest.raises(SettingsError, match=r"is no YAML: line \d") as told:
            load(path, environ)
        assert "hunter2" not in str(told.value)


def test_a_token_comes_from_a_file_or_a_variable_to_the_letter(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789012345\n")
    for value in (f"file:{tmp_path / 'token'}", "0123456789012345"):
        token = load(None, {"STREAM_MONITOR__HTTP__TOKEN": value}).http.token
        assert token is not None and token.get_secret_value() == "0123456789012345"
