"""The settings of notifications: mistakes are told with place and remedy, and secrets are shown to nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_monitor.config.settings import load, parse
from stream_monitor.errors import SettingsError

KEY = "whsec_" + "A" * 43 + "="
HOOK: dict[str, Any] = {"kind": "webhook", "url": "https://hook.example/x?secret=hunter2", "key": KEY}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"receivers": {"a": {"kind": "wehbook"}}}, "did you mean 'webhook'"),
    ({"receivers": {"a": {}}}, "kinds are: webhook"),
    ({"receivers": {"a": HOOK | {"kye": 1}}}, "a.kye: unknown key; did you mean 'key'"),
    ({"receivers": {"a b": HOOK}}, "a name has letters"),
    ({"receivers": {"a": HOOK | {"key": "short"}}}, "a.key: must be base64"),
    ({"receivers": {"a": HOOK | {"key": "whsec_aGk="}}}, "24 to 64 bytes"),
    ({"receivers": {"a": HOOK | {"url": "ftp://x"}}}, "a.url: is no address"),
    ({"receivers": {"a": HOOK | {"url": "https://u:hunter2@x/"}}}, "has a name or password in it"),
    ({"receivers": {"a": {"kind": "slack", "token": "xoxb"}}}, "token and channel belong together"),
    ({"receivers": {"a": {"kind": "slack"}}}, "needs either token"),
    ({"receivers": {"a": {"kind": "pagerduty", "routing_key": "hunter2"}}}, "must be the 32 letters"),
    ({"receivers": {"a": {"kind": "email", "host": "m", "sender": "x", "to": ["a@b"]}}}, "is no mail address"),
    ({"receivers": {"a": {"kind": "email", "host": "m", "sender": "a@b\nBcc: c@d", "to": ["a@b"]}}}, "no mail address"),
    ({"receivers": {"a": HOOK}, "routes": [{"to": ["b"]}]}, "routes.0.to: no receiver is called 'b'"),
    ({"receivers": {"a": HOOK}, "routes": [{"to": ["a"], "match": {"severity": "citical"}}]},
     "did you mean 'critical'"),
    ({"receivers": {"a": HOOK}, "routes": [{"to": ["a"], "quiet": {"from": 1200, "to": "8:00"}}]}, "in quotes"),
    ({"receivers": {"a": HOOK}, "routes": [{"to": ["a"], "quiet": {"from": "25:00", "to": "8:00"}}]}, "no time of day"),
    ({"receivers": {"a": HOOK}, "routes": [{"to": ["a"], "quiet": {"from": "1:00", "to": "8:00", "zone": "Mars"}}]},
     "no time zone is called 'Mars'"),
    ({"receivers": {"a": HOOK}, "routes": [{"to": ["a"], "quiet": {"from": "1:00", "to": "8:00", "days": "mo"}}]},
     "names no days"),
    ({"rate": "1 per hour"}, "less than 2 per hour"),
    ({"group_wait": "2h"}, "above stale_after"),
    ({"link": "javascript:alert(1)"}, "link"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_mistake_is_told_with_its_place_and_without_secrets(section: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse({"notify": section})
    assert said in str(raised.value) and "notify" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_secrets_come_from_files_and_variables_and_nothing_shows_them(tmp_path: Path) -> None:
    (tmp_path / "pd").write_text("0123456789abcdef0123456789abcdef\n")
    receivers = {
        "oncall": {"kind": "pagerduty", "routing_key": f"file:{tmp_path}/pd"},
        "team": {"kind": "slack", "token": "env:SLACK", "channel": "#alerts"},
        "hook": HOOK,
        "mail": {"kind": "email", "host": "mail.example", "sender": "a@b.example", "to": ["c@d.example"],
                 "username": "u", "password": "env:MAIL"},
    }  # fmt: skip
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"notify": {"receivers": receivers, "routes": [{"to": ["team"]}]}}))
    rules = load(
        path, {"SLACK": "xoxb-hunter2", "MAIL": "hunter2", "STREAM_MONITOR__NOTIFY__RECEIVERS__HOOK__KEY": KEY}
    )
    shown = rules.model_dump_json() + repr(rules) + yaml.safe_dump(rules.model_dump(mode="json"))
    assert "hunter2" not in shown and "0123456789abcdef" not in shown and "A" * 43 not in shown
    assert "#alerts" in shown and "mail.example" in shown
    again = parse(rules.model_dump())
    assert again == rules
    with pytest.raises(SettingsError, match=r"notify\.receivers\.team\.token: the variable 'SLACK' is not set"):
        load(path, {"MAIL": "x"})


def test_settings_without_receivers_are_as_before() -> None:
    assert parse({}).notify.receivers == {} and parse({}).notify.routes == ()
