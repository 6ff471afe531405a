from __future__ import annotations

import json
import logging
from collections.abc import Mapping

import pytest

from stream_monitor.file_replay import replay
from stream_monitor.profiles import measures
from stream_monitor.service.event_survey import ENOUGH, EventSurvey
from tests.streams import T0, quick_settings


def seen(*events: Mapping[str, object]) -> EventSurvey:
    latest = EventSurvey()
    for event in events:
        latest.take(json.dumps(event).encode())
    return latest


def test_a_ranking_is_told_with_its_model() -> None:
    ranked = {"id": "a", "model": "shop", "prediction": ["a", "b"]}
    told = list(seen(ranked, ranked, {"id": "b", "model": "other", "prediction": "a"}).notes([]))
    assert len(told) == 1 and told[0].startswith("2 of the latest predictions of model shop are arrays: ")


@pytest.mark.parametrize(
    ("measure", "near"),
    [("ammount", "did you mean 'amount'?"), ("latency", "did you mean 'latency_ms'?"), ("length(ammount)", "amount")],
)
def test_a_limit_on_what_never_comes_is_told_with_the_nearest(measure: str, near: str) -> None:
    latest = seen(*({"id": "a", "features": {"amount": 1}} for _ in range(ENOUGH)))
    (told,) = latest.notes([(f"{measure}.mean > 3", measure)])
    assert f"watches '{measure}', which none of the latest events has" in told and near in told


@pytest.mark.parametrize(
    "measure", ["amount", "length(amount)", "latency_ms", "error", "volume", "feature.score", "signal.clicks"]
)
def test_a_limit_on_what_comes_or_may_come_is_not_told(measure: str) -> None:
    latest = seen(
        {"id": "a", "signals": {"clicks": 1}}, *({"features": {"amount": 1, "score": 2}} for _ in range(ENOUGH))
    )
    assert not list(latest.notes([("text", measure)]))
    assert not list(seen({"id": "a"}).notes([("text", "whatever")]))


@pytest.mark.parametrize("raw", [b"", b"{", b"[1]", b"\xff", b"[" * 10_000, None])
def test_what_cannot_be_read_is_nothing(raw: bytes | None) -> None:
    latest = EventSurvey()
    latest.take(raw)
    assert latest.events == 0


@pytest.mark.parametrize("prediction", ['["a","b"]', '{"a":1}', '[["a"],"b"]'])
def test_a_worker_tells_once_that_predictions_are_no_answers(prediction: str, caplog: pytest.LogCaptureFixture) -> None:
    measures.tell_unmeasured.cache_clear()
    raw = '{"id":"e%d","model":"m","ts":%d,"features":{"x":1},"prediction":%s}'
    events = [("predictions", (raw % (i, T0 + i, prediction)).encode()) for i in range(300)]
    with caplog.at_level(logging.WARNING):
        replay(quick_settings(), events, lambda output: None)
    told = [message for message in caplog.messages if message.startswith("a prediction is an ")]
    assert len(told) == 1


def test_answers_and_arrays_among_features_are_not_told(caplog: pytest.LogCaptureFixture) -> None:
    measures.tell_unmeasured.cache_clear()
    raw = '{"id":"e%d","model":"m","ts":%d,"features":{"x":[1,2]},"prediction":"a"}'
    replay(quick_settings(), [("predictions", (raw % (i, T0 + i)).encode()) for i in range(300)], lambda output: None)
    assert not [message for message in caplog.messages if "prediction" in message]
