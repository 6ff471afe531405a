"""Detection settings of some models, by a pattern of their names."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from stream_monitor.config.recorded import applied, judged_text
from stream_monitor.config.settings import parse
from stream_monitor.errors import SettingsError
from stream_monitor.service.check import models_in_force
from tests.judge.logs import recorded

GIVEN = {
    "detection": {"tolerance": {"psi": 0.2}, "min_count": 100},
    "models": {"fraud-eu": {"min_count": 50}, "fraud*": {"tolerance": {"ks": 0.3}, "limits": ["x.mean > 5 critical"]}},
}


def test_the_first_pattern_that_matches_counts_and_tolerances_are_merged() -> None:
    settings = parse(GIVEN)
    assert settings.for_model("fraud-eu").detection.min_count == 50
    assert settings.for_model("fraud-eu").detection.limits == ()
    us = settings.for_model("fraud-us").detection
    assert (us.min_count, us.tolerance, us.limits) == (100, {"psi": 0.2, "ks": 0.3}, ("x.mean > 5 critical",))
    assert settings.for_model("search") is settings


def test_the_log_of_a_judge_holds_them() -> None:
    settings = parse(GIVEN)
    assert applied(parse({}), judged_text(settings)).for_model("fraud-us").detection.tolerance == {
        "psi": 0.2,
        "ks": 0.3,
    }
    former = json.loads(judged_text(settings))
    del former["models"]
    assert applied(settings, json.dumps(former)).models == {}, "a log without them has none"


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ({"a*": {"min_cuont": 3}}, r"models\.a\*\.min_cuont: unknown key; .*min_count"),
        ({"a*": {"min_count": 1}}, r"models\.a\*\.min_count: .*10"),
        ({"a*": {"tolerance": {"pis": 1}}}, "there is no test 'pis'"),
        ({"": {"min_count": 50}}, "a pattern is empty"),
        ({"a*": 3}, r"models\.a\*"),
    ],
)
def test_mistakes_are_named(models: object, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        parse({"models": models})


def test_check_says_which_models_a_pattern_is_in_force_for() -> None:
    lines = models_in_force(parse(GIVEN), ["search", "fraud-us", "fraud-eu"])
    assert lines[0] == "models.fraud-eu is in force for fraud-eu; it sets min_count: 50"
    assert lines[1].startswith("models.fraud* is in force for fraud-us; it sets tolerance: ")
    assert "no model of the latest events" in models_in_force(parse(GIVEN), [])[0]


def events() -> Iterator[tuple[str, bytes]]:
    """Two models whose feature moves by one standard deviation after 400 s."""
    rng = random.Random(4)
    for at in range(6_000):
        for model in ("calm", "strict"):
            x = rng.gauss(1.0 if at >= 4_000 else 0.0, 1.0)
            event = {"id": f"{model}{at}", "ts": 1_760_000_040_000 + at * 100, "model": model, "features": {"x": x}}
            yield "predictions", json.dumps(event | {"prediction": True}).encode()


def test_a_model_is_judged_by_its_own_settings() -> None:
    given = {"tolerance": {"psi": 9, "ks": 0.9}, "severity": {"drift": "critical"}, "limits": ["x.mean > 0.5"]}
    settings = parse({"baseline": {"first": 2_000}, "models": {"calm": given, "str*": {"severity": {"drift": "info"}}}})
    found = {(a["model"], a["measure"], a["kind"], a["severity"]) for a in recorded(settings, events()).alerts}
    assert ("strict", "x", "drift", "info") in found and ("calm", "x", "limit", "warning") in found
    assert not [one for one in found if one[0] == "calm" and one[2] == "drift"]
