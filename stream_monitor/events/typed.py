"""The fast way to decode predictions: one struct a model, compiled from what was seen, a slice of events at a time.

Only a cache: a slice that does not fit in every event (a new model, a new feature, another type, bad JSON) is decoded
by the generic way instead, event by event, and the two ways give equal columns. That is a property test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from stream_monitor.events.contracts import Id, Millis, Name, Prediction, Scalar
from stream_monitor.events.decode import MAX_EVENT_BYTES

Kind = Literal["number", "text", "flag", "any"]
MAX_MODELS = 1_000
MAX_FEATURES = 250
MAX_COMPILES = 100
"""After so many new shapes of one model it stays with the generic way: its events have no shape."""

_TYPES: dict[Kind, Any] = {"number": float | None, "text": str | None, "flag": bool | None, "any": Any}


def kind_of(values: Sequence[Any]) -> Kind | None:
    """The kind that all these values share; None while only nulls were seen."""
    kinds: set[Kind] = {_KINDS.get(type(value), "any") for value in values if value is not None}
    return kinds.pop() if len(kinds) == 1 else ("any" if kinds else None)


_KINDS: dict[type, Kind] = {float: "number", int: "number", str: "text", bool: "flag"}


class Shape:
    """What the events of one model look like, and the struct for them."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.features: dict[str, Kind | None] = {}
        self.prediction: Kind | None = None
        self.compiles = 0
        self.struct: type[msgspec.Struct] | None = None

    def learn(self, events: Sequence[Prediction]) -> bool:
        """Widen the shape to these events; whether it changed."""
        seen: dict[str, list[Any]] = {}
        for event in events:
            for name, value in event.features.items():
                seen.setdefault(name, []).append(value)
        changed = False
        for name, values in seen.items():
            wider = _wider(self.features.get(name), kind_of(values))
            if name not in self.features or wider != self.features[name]:
                self.features[name], changed = wider, True
        answer = _wider(self.prediction, kind_of([event.prediction for event in events]))
        if answer != self.prediction:
            self.prediction, changed = answer, True
        return changed

    def names(self, kind: Kind) -> list[str]:
        """Features of a kind, in a fixed order; those of unknown kind count as "any"."""
        return [name for name, found in self.features.items() if (found or "any") == kind]

    def compile(self) -> None:
        """Make the struct; features become fields f0, f1 … so that any name is possible."""
        self.compiles += 1
        if self.compiles > MAX_COMPILES or len(self.features) > MAX_FEATURES:
            self.struct = None
            return
        fields = [(f"f{i}", _TYPES[kind or "any"], None) for i, kind in enumerate(self.features.values())]
        options: dict[str, Any] = {"gc": False, "forbid_unknown_fields": True}
        rename = {f"f{i}": name for i, name in enumerate(self.features)}
        features = msgspec.defstruct("Features", fields, rename=rename, **options)
        self.struct = msgspec.defstruct(
            "Typed",
            [
                ("id", Id),
                ("ts", Millis),
                ("features", features, msgspec.field(default_factory=features)),
                ("version", Name, "0"),
                ("prediction", _TYPES[self.prediction or "any"], None),
                ("probabilities", float | list[float] | dict[str, float] | None, None),
                ("latency_ms", float | None, None),
                ("decided_by", Literal["model", "human"] | None, None),
                ("human_prediction", Scalar, None),
                ("tags", dict[str, Scalar], msgspec.field(default_factory=dict)),
            ],
            namespace={"shape": self},
            tag_field="model",
            tag=self.model,
            **options,
        )

    def field_of(self, name: str) -> str:
        """The struct's field of a feature."""
        return f"f{list(self.features).index(name)}"


def _wider(old: Kind | None, new: Kind | None) -> Kind | None:
    if old is None or new is None:
        return old or new
    return old if old == new else "any"


class TypedDecoder:
    """Decodes slices; knows the shapes of at most `MAX_MODELS` models."""

    def __init__(self) -> None:
        self.shapes: dict[str, Shape] = {}
        self._decoder: msgspec.json.Decoder[Any] | None = None

    def decode(self, values: Sequence[bytes | None]) -> list[Any] | None:
        r"""The typed events of a slice, or None when it must go the generic way.

        A slice is decoded together only if no value is blank and the joined bytes hold exactly the newlines that join
        them: `[e1\ne99, b"", e2]` would decode to three events too.
        """
        if self._decoder is None or not all(values):
            return None
        joined = b"\n".join(values)  # type: ignore[arg-type]
        newlines = np.count_nonzero(np.frombuffer(joined, np.uint8) == 10)  # several times faster than bytes.count
        if newlines != len(values) - 1 or len(joined) > MAX_EVENT_BYTES:
            return None
        try:
            events: list[Any] = self._decoder.decode_lines(joined)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return events if len(events) == len(values) else None

    def learn(self, events: Sequence[Prediction]) -> None:
        """Take in a slice that had to go the generic way."""
        by_model: dict[str, list[Prediction]] = {}
        for event in events:
            by_model.setdefault(event.model, []).append(event)
        changed = False
        for model, found in by_model.items():
            shape = self.shapes.get(model)
            if shape is None:
                if len(self.shapes) >= MAX_MODELS:
                    continue
                shape = self.shapes[model] = Shape(model)
            if shape.learn(found) or shape.struct is None:
                shape.compile()
                changed = True
        if changed:
            self._compile()

    def _compile(self) -> None:
        structs = [shape.struct for shape in self.shapes.values() if shape.struct is not None]
        union: Any = None
        for struct in structs:
            union = struct if union is None else union | struct
        self._decoder = msgspec.json.Decoder(union) if structs else None
