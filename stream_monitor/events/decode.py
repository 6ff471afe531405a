"""Bytes to events, one by one: the generic way, which never raises and which the typed way must equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from stream_monitor.events.contracts import Feedback, Label, Observation, Prediction
from stream_monitor.events.json_text import decode_json, without_non_finite

MAX_EVENT_BYTES = 1_000_000
MAX_FEATURES = 1_000
EARLIEST = 946_684_800_000  # 2000-01-01: anything older is a clock that was never set, or seconds for milliseconds


class Reject(NamedTuple):
    """Why bytes are not an event: `reason` is one of a bounded set of words, `error` the details."""

    reason: str
    error: str


Event = Prediction | Label | Feedback | Observation

_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "predictions": msgspec.json.Decoder(Prediction),
    "labels": msgspec.json.Decoder(Label),
    "feedback": msgspec.json.Decoder(Feedback),
    "observations": msgspec.json.Decoder(Observation),
}


def decode(role: str, value: bytes | None) -> Event | Reject:
    """Decode one event of a topic's role (`predictions`, `labels`, `feedback`, `observations`).

    NaN, Infinity and numbers that no double holds are missing values.
    """
    if value is None:
        return Reject("tombstone", "the record has no value: on a compacted topic it deletes its key")
    if not value.strip():
        return Reject("blank", "the record is empty")
    if len(value) > MAX_EVENT_BYTES:
        return Reject("too_large", f"{len(value)} bytes, at most {MAX_EVENT_BYTES} are read")
    try:
        event = decode_json(_DECODERS[role], value)
    except msgspec.ValidationError as error:
        return Reject("contract", f"{error}{_hint(value)}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Reject("not_json", str(error))
    except RecursionError:
        return Reject("too_deep", "nested deeper than the parser goes")
    return _check(event)


def _hint(value: bytes) -> str:
    """What explains a null that the sender wrote in another way."""
    return "" if without_non_finite(value) is value else " (NaN, Infinity and numbers like 1e400 are read as null)"


def _check(event: Event) -> Event | Reject:
    check = _CHECKS.get(type(event))
    problem = check(event) if check else None
    return problem or event


def _check_prediction(event: Prediction) -> Reject | None:
    if len(event.features) > MAX_FEATURES:
        return Reject("too_many_features", f"{len(event.features)} features, at most {MAX_FEATURES} are read")
    for name, value in event.features.items():
        if _is_too_large(value):
            event.features[name] = None
    for name, tag in event.tags.items():
        if _is_too_large(tag):
            event.tags[name] = None
    if _is_too_large(event.prediction):
        event.prediction = None
    return None


def _is_too_large(value: Any) -> bool:
    """Whether a whole number is so large that no double holds it: it is missing, like 1e400."""
    return type(value) is int and not -(2**1023) < value < 2**1023


def _check_feedback(event: Feedback) -> Reject | None:
    given: dict[str, float | None] = {name: value for name, value in event.signals.items() if value is not None}
    if not given:
        return Reject("contract", "no signal has a value - at `$.signals`")
    event.signals = given
    return None


_CHECKS: dict[type, Callable[[Any], Reject | None]] = {Prediction: _check_prediction, Feedback: _check_feedback}
