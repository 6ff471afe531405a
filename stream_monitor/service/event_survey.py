"""What a look at the latest events tells: predictions of which little is measured, limits on what never comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream_monitor.describe.join.outcomes import ABSOLUTE_ERROR, DISAGREEMENT, ERROR, SQUARED_ERROR
from stream_monitor.errors import suggest
from stream_monitor.profiles.measures import LABEL, PREDICTION, UNMEASURED, base_of, built_in, feature_measure

ENOUGH = 100
"""Events from which on a measure that none of them has is worth a word."""
_OUTCOMES = (ERROR, ABSOLUTE_ERROR, SQUARED_ERROR, LABEL, DISAGREEMENT)


class _Seen(msgspec.Struct):
    model: Any = "default"
    prediction: Any = None
    features: dict[str, Any] = {}
    signals: dict[str, Any] = {}
    measures: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Seen).decode


@dataclass(slots=True)
class EventSurvey:
    """What was seen of the latest events of all topics."""

    events: int = 0
    names: set[str] = field(default_factory=lambda: {*built_in(), *_OUTCOMES})
    """Of measures."""
    unmeasured: dict[tuple[str, str], int] = field(default_factory=dict)
    """Predictions that are arrays or objects, by model and kind."""

    def take(self, raw: bytes | None) -> None:
        """Look at an event; one that cannot be read is a dead letter, and those are counted elsewhere."""
        try:
            event = _decode(raw or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        self.events += 1
        self.names.update(map(feature_measure, event.features), event.measures)
        self.names.update(f"signal.{name}" for name in event.signals)
        if isinstance(event.prediction, list | dict):
            kind = str(event.model), "array" if isinstance(event.prediction, list) else "object"
            self.unmeasured[kind] = self.unmeasured.get(kind, 0) + 1

    def notes(self, limited: list[tuple[str, str]]) -> Iterator[str]:
        """What to tell; `limited` are the limits, (text, measure)."""
        for (model, kind), count in sorted(self.unmeasured.items()):
            told = f"{count:,} of the latest predictions of model {model} are {kind}s"
            yield f"{told}: of an {kind} as {PREDICTION} {UNMEASURED}"
        for text, measure in limited if self.events >= ENOUGH else ():
            if measure not in self.names and base_of(measure) not in self.names:
                told = f"detection.limits: {text!r} watches {measure!r}, which none of the latest events has"
                yield f"{told}; {suggest(measure, sorted(self.names), 'measures')}"
