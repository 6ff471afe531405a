"""Private fields: nothing that is published or kept has their values, and counting goes on as if they were there."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import struct
from typing import Any

import pytest

from stream_monitor.config.settings import Settings, load, parse
from stream_monitor.errors import SettingsError
from stream_monitor.events.privacy import Privacy
from stream_monitor.file_replay import Replay
from stream_monitor.service.check import limit_problems
from stream_monitor.stages.contract import Output
from stream_monitor.verify.compare import compare
from stream_monitor.verify.expected import Expected
from stream_monitor.verify.published import Published
from tests.streams import T0, quick_settings

KEY = "0123456789abcdef"
HIDING = {"hash": ["customer", "zip", "vip"], "drop": ["email"], "key": KEY}
NAMES = ["Ada Lovelace", "Grace Hopper", "Émilie du Châtelet"]
ZIPS = [10_115.25, 80_331.5, 20_095.75]


def event(i: int, **changes: Any) -> dict[str, Any]:
    rng = random.Random(i)
    features = {"customer": rng.choice(NAMES), "zip": rng.choice(ZIPS), "vip": i % 2 == 0, "amount": rng.gauss(5, 1)}
    features |= {"email": f"ada{i}@example.org", "n": i % 3}
    tags = {"customer": rng.choice(NAMES)} if i % 4 == 0 else {}
    body = {"id": f"e{i}", "ts": T0 + 100 * i, "model": "m", "features": features, "tags": tags, "prediction": i % 3}
    return body | changes


def lines() -> list[tuple[str, bytes]]:
    """Good events, some that only the generic way reads, and some that become dead letters, with and without JSON."""
    found = []
    for i in range(600):
        found.append(("predictions", json.dumps(event(i), ensure_ascii=i % 50 == 0).encode()))
        if i % 5 == 0:
            found.append(("labels", json.dumps({"id": f"e{i}", "ts": T0 + 100 * i, "label": 1}).encode()))
        if i % 100 == 0:
            whole = json.dumps(event(i, id=7, extra=[{"customer": [NAMES[0]], "email": "ada@example.org"}])).encode()
            found += [("predictions", whole), ("predictions", whole[:-9]), ("labels", whole)]
    return found


class Everything(Replay):
    """A replay that keeps all that leaves the stages; the judge's state is made of `profiles` alone."""

    def __init__(self, rules: Settings) -> None:
        self.outputs: list[tuple[str, bytes]] = []
        self.told = Published()
        super().__init__(rules, self._keep)
        for stage in (self.driver.describe, self.judge):
            self._record(stage)

    def _record(self, stage: Any) -> None:
        flush = stage.flush

        def recorded(status: Any) -> list[Output]:
            outputs = list(flush(status))
            self.outputs += [(output.role, (output.key or b"") + output.value) for output in outputs]
            return outputs

        stage.flush = recorded

    def _keep(self, output: Output) -> None:
        self.told.feed(output.role, output.value)

    def _judge(self, value: bytes) -> None:
        self.told.feed("profiles", value)
        super()._judge(value)


def replayed(rules: Settings) -> Everything:
    run, events = Everything(rules), lines()
    for at in range(0, len(events), 37):
        run.feed(events[at : at + 37])
    run.finish()
    return run


def rules_for(**privacy: Any) -> Settings:
    return quick_settings(segments=[["customer"], ["vip", "zip"]], privacy=HIDING | privacy)


def test_no_output_has_a_private_value() -> None:
    secrets = [raw for name in NAMES for raw in (name.encode(), json.dumps(name).encode()[1:-1])]
    secrets += [b"@example.org"] + [struct.pack("<d", number) for number in ZIPS] + [str(n).encode() for n in ZIPS]
    plain = replayed(quick_settings(segments=[["customer"], ["vip", "zip"]]))
    hidden = replayed(rules_for())
    assert {role for role, _ in hidden.outputs} >= {"profiles", "pending", "baselines", "metrics", "dead-letters"}
    for secret in secrets:
        assert any(secret in value for value in shown(plain)), f"{secret!r} would show"
        assert not any(secret in value for value in shown(hidden)), secret


def shown(run: Everything) -> list[bytes]:
    """All outputs, and what dead letters have in base64."""
    letters = [json.loads(value[value.index(b"{") :]) for role, value in run.outputs if role == "dead-letters"]
    return [value for _, value in run.outputs] + [base64.b64decode(letter["bytes"]) for letter in letters]


def test_the_verifier_agrees_on_hashed_segments_and_categories() -> None:
    rules = rules_for()
    run, truth = replayed(rules), Expected(rules)
    offsets = {"predictions": 0, "labels": 0}
    for role, raw in lines():
        truth.feed(role, 0, offsets[role], run.driver.started, raw)
        offsets[role] += 1
    assert list(compare(rules, truth, run.told, settled=True)) == []
    segments = {cell[2] for cell in truth.traffic}
    assert len(segments) == 1 + len(NAMES) + 2 * len(ZIPS)
    assert all(segment == "all" or "#" in segment for segment in segments)


def metrics_of(run: Everything) -> list[dict[str, Any]]:
    return [json.loads(value[value.index(b"{") :]) for role, value in run.outputs if role == "metrics"]


def test_hashed_values_are_categories_and_dropped_ones_are_not_there() -> None:
    shown = next(m for m in metrics_of(replayed(rules_for())) if m["kind"] == "traffic" and m["segment"] == "all")
    measures = shown["measures"]
    for name, values in (("customer", NAMES), ("zip", ZIPS), ("vip", [True, False])):
        assert set(measures[name]["top"]) == {Privacy(HIDING["hash"], (), KEY).hide(name, value) for value in values}
    assert measures["zip"].get("mean") is None
    assert not {"email", "length(email)", "length(customer)"} & set(measures)
    assert measures["amount"]["mean"] == pytest.approx(5, abs=0.5)


def test_a_number_has_one_token_however_it_is_written() -> None:
    privacy = Privacy(["n"], (), KEY)
    assert privacy.hide("n", 5) == privacy.hide("n", 5.0)
    assert privacy.hide("n", 0) == privacy.hide("n", -0.0)
    assert privacy.hide("n", 2**70) == privacy.hide("n", float(2**70))


def test_tokens_depend_on_the_key_and_the_field() -> None:
    tokens = {Privacy(["a", "b"], (), key).hide(name, "x") for key in (KEY, KEY[::-1]) for name in ("a", "b")}
    assert len(tokens) == 4


def test_a_dead_letter_has_the_event_without_its_private_fields() -> None:
    privacy = Privacy(["customer"], ["email"], KEY)
    token = privacy.hide("customer", "Ada")
    raw = b'{"id":7,"email":"a@b","list":[{"customer":"Ada","x":1.5}],"customer":["Ada"]}'
    assert json.loads(privacy.redacted(raw)) == {"id": 7, "list": [{"customer": token, "x": 1.5}], "customer": None}


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"customer":"Ada"', b"\xff", b"[" * 100_000, b'{"customer":1%s' % (b"0" * 5_000)]
)
def test_what_is_not_json_is_not_kept_at_all(raw: bytes) -> None:
    assert Privacy(["customer"], (), KEY).redacted(raw) == b""


def test_numbers_of_any_size_and_deep_nesting_are_redacted() -> None:
    privacy = Privacy(["customer"], (), KEY)
    assert privacy.redacted(b'{"customer":1%s,"n":1%s}' % (b"0" * 400, b"0" * 400)).startswith(b'{"customer":"#')
    deep = privacy.redacted(b'{"a":' * 200 + b'{"customer":"Ada"}' + b"}" * 200)
    assert b"Ada" not in deep and b"null" in deep


def test_the_fingerprint_cannot_be_guessed_where_there_are_private_fields() -> None:
    raw = b'{"customer":"Ada"}'
    plain = hashlib.sha256(raw).hexdigest()
    assert Privacy().fingerprint(raw) == plain
    keyed = Privacy(["customer"], (), KEY).fingerprint(raw)
    assert len(keyed) == 64 and keyed != plain
    assert Privacy((), ["customer"]).fingerprint(raw) == ""


@pytest.mark.parametrize(
    ("kept", "private", "expected"),
    [(None, False, "full"), (None, True, "redacted"), ("full", True, "full"), ("none", False, "none")],
)
def test_what_a_dead_letter_keeps(kept: str | None, private: bool, expected: str) -> None:
    settings = parse({"dead_letters": {"raw": kept}, "privacy": HIDING if private else {}})
    assert settings.letters().kept == expected


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"privacy": {"hash": ["a"]}}, "hash needs a key"),
        ({"privacy": {"hash": ["a"], "key": "short"}}, "at least 16 characters"),
        ({"privacy": {"hash": ["a"], "drop": ["a"], "key": KEY}}, "a: either hash or drop"),
        ({"privacy": {"drop": ["a"]}, "segments": [["b", "a"]]}, "segments has 'a'"),
    ],
)
def test_contradictions_are_mistakes(raw: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        parse(raw)


@pytest.mark.parametrize(
    ("limit", "told"),
    [("zip.p99 > 5", "hashes"), ("email.missing > 5", "leaves out"), ("zip.missing > 5", None), ("n.max > 5", None)],
)
def test_a_limit_that_a_private_field_can_never_break_is_a_problem(limit: str, told: str | None) -> None:
    problems = limit_problems(parse({"privacy": HIDING, "detection": {"limits": [limit]}}))
    assert [told in problem for problem in problems if told] == ([] if told is None else [True])
    assert bool(problems) == (told is not None)


def test_the_key_is_a_secret() -> None:
    settings = load(None, {"STREAM_MONITOR__PRIVACY__KEY": KEY, "STREAM_MONITOR__PRIVACY__HASH": "[a]"})
    assert KEY not in settings.model_dump_json() + repr(settings)
