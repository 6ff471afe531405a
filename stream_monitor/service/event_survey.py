"""Findings in the latest events: predictions of which little is measured, limits on measures that no event has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream_monitor.describe.join.outcomes import ABSOLUTE_ERROR, DISAGREEMENT, ERROR, SQUARED_ERROR
from stream_monitor.errors import suggest
from stream_monitor.events.json_text import decode_json
from stream_monitor.profiles.measures import (
    INCOMPARABLE,
    LABEL,
    PREDICTION,
    UNMEASURED,
    base_of,
    bounded,
    built_in,
    feature_measure,
    measure_named,
)

MOST_MODELS = 1_000
ENOUGH = 100
"""From this many events on, a limit on a measure that none of them has gets a note."""
_OUTCOMES = (ERROR, ABSOLUTE_ERROR, SQUARED_ERROR, LABEL, DISAGREEMENT, INCOMPARABLE)


class _Seen(msgspec.Struct):
    model: Any = "default"
    prediction: Any = None
    features: dict[str, Any] = {}
    signals: dict[str, Any] = {}
    measures: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Seen)


@dataclass(slots=True)
class EventSurvey:
    """The figures of the latest events of all topics."""

    events: int = 0
    names: set[str] = field(default_factory=lambda: {*built_in(), *_OUTCOMES})
    """The names of the measures that are built in or were found."""
    models: Counter[str] = field(default_factory=Counter)
    """Events by model, of at most `MOST_MODELS` models."""
    unmeasured: dict[tuple[str, str], int] = field(default_factory=dict)
    """Predictions that are arrays or objects, by model and kind."""

    def take(self, raw: bytes | None) -> None:
        """Count an event. An event that cannot be read is skipped: it is a dead letter, which other code counts."""
        try:
            event = decode_json(_decoder, raw or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        self.events += 1
        if (model := str(event.model)) in self.models or len(self.models) < MOST_MODELS:
            self.models[model] += 1
        self.names.update(map(feature_measure, event.features), event.measures)
        self.names.update(f"signal.{name}" for name in event.signals)
        if isinstance(event.prediction, list | dict):
            kind = str(event.model), "array" if isinstance(event.prediction, list) else "object"
            self.unmeasured[kind] = self.unmeasured.get(kind, 0) + 1

    def notes(self, limited: list[tuple[str, str]]) -> Iterator[str]:
        """The notes to print; `limited` are the limits, (text, measure)."""
        for (model, kind), count in sorted(self.unmeasured.items()):
            message = f"{count:,} of the latest predictions of model {model} are {kind}s"
            yield f"{message}: of an {kind} as {PREDICTION} {UNMEASURED}"
        for text, measure in limited if self.events >= ENOUGH else ():
            meant = {measure, base_of(measure), measure_named(measure), bounded(measure)}
            if not meant & self.names:
                message = f"detection.limits: {text!r} watches {measure!r}, which none of the latest events has"
                yield f"{message}; {suggest(measure, sorted(self.names), 'measures')}"
