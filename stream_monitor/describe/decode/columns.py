"""Events as columns of measures.

A value's kind is its JSON type. Numbers fill a numeric column, strings and booleans a categorical one. Strings and
arrays also fill a column of lengths. Arrays and objects are counted by kind. The order of events does not affect the
kind of a value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from stream_monitor.describe.decode.embeddings import Embeddings, as_sent, has_gaps
from stream_monitor.events.contracts import Observation, Prediction
from stream_monitor.events.privacy import Privacy
from stream_monitor.profiles import measures
from stream_monitor.profiles.classes import same_class
from stream_monitor.types import F32, F64, I64

Spec = tuple[str, ...]
"""The fields whose values together name a segment."""

Vectors = dict[str, dict[int, F32]]
"""Embeddings that a sample of rows may need, by measure and index of the event."""


def distinct(keys: I64) -> tuple[I64, I64]:
    """The distinct values of `keys`, which are not negative, in ascending order, and the index of each key there."""
    most = int(keys.max(initial=0))
    if most > 4 * len(keys) + 1_000:
        values, index = np.unique(keys, return_inverse=True)
        return values, index
    occurs = np.zeros(most + 1, np.bool_)
    occurs[keys] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[keys]


@dataclass(slots=True)
class Coded:
    """A column of names: `names[codes[i]]`, or absent where the code is -1."""

    codes: I64
    names: list[str]

    def __getitem__(self, rows: slice | I64) -> Coded:
        return Coded(self.codes[rows], self.names)

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Coded:
        """Encode names; codes are in order of first occurrence."""
        names = [value for value in dict.fromkeys(values) if value is not None]
        index: dict[str | None, int] = {value: i for i, value in enumerate(names)}
        index[None] = -1
        return cls(np.fromiter(map(index.__getitem__, values), np.int64, len(values)), names)

    @classmethod
    def one(cls, name: str, size: int) -> Coded:
        """A column that has this name in every row."""
        return cls(np.zeros(size, np.int64), [name])

    @classmethod
    def absent(cls, size: int) -> Coded:
        """A column that is absent in every row."""
        return cls(np.full(size, -1, np.int64), [])

    @classmethod
    def chain(cls, parts: Sequence[Coded]) -> Coded:
        """Concatenate several columns."""
        first = parts[0].names
        if all(part.names is first for part in parts):
            return cls(np.concatenate([part.codes for part in parts]), first)
        index: dict[str, int] = {}
        moved = []
        for part in parts:
            places = [index.setdefault(name, len(index)) for name in part.names]
            moved.append(np.array([*places, -1], np.int64)[part.codes])
        return cls(np.concatenate(moved), list(index))

    def lengths(self) -> F64:
        """Number of characters of each row's name, NaN where absent."""
        return np.array([*map(len, self.names), np.nan])[self.codes]

    def dense(self) -> Coded:
        """The same column without the names that do not occur; the others keep their order."""
        used = np.flatnonzero(np.bincount(self.codes + 1, minlength=len(self.names) + 1)[1:])
        if len(used) == len(self.names):
            return self
        place = np.full(len(self.names) + 1, -1, np.int64)
        place[used] = np.arange(len(used))
        return Coded(place[self.codes], [self.names[i] for i in used.tolist()])


@dataclass(slots=True)
class Columns:
    """Measures of n events; NaN means "absent", because JSON has no NaN.

    Several models with the same measures share one `Columns`, in which each model's events are contiguous. Otherwise
    the work per column would be done per model and column, and would cost more than the work per event.
    """

    models: Coded
    rows: I64
    versions: Coded
    numeric: dict[str, F64] = field(default_factory=dict)
    categorical: dict[str, Coded] = field(default_factory=dict)
    segments: dict[Spec, Coded] = field(default_factory=dict)
    """The segment ("country=DE") of each event under each spec, None where a field is absent."""
    vectors: Vectors = field(default_factory=dict)


class Builder:
    """Fills sparse columns, one event after the other."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.numbers: dict[str, list[float]] = {}
        self.categories: dict[str, list[str | None]] = {}
        self.vectors: Vectors = {}

    def number(self, name: str, at: int, value: float) -> None:
        """Set a number of event `at`."""
        column = self.numbers.get(name)
        if column is None:
            column = self.numbers[name] = [math.nan] * self.size
        column[at] = value

    def category(self, name: str, at: int, value: str) -> None:
        """Set a category of event `at`."""
        column = self.categories.get(name)
        if column is None:
            column = self.categories[name] = [None] * self.size
        column[at] = value

    def value(self, name: str, at: int, value: Any) -> None:
        """Set any JSON value of a measure, by its type; null means absent."""
        kind = type(value)
        if kind is float or kind is int:
            self.number(name, at, float(value))
        elif kind is str:
            self.category(name, at, measures.bounded(value))
            self.number(measures.length_of(name), at, float(len(value)))
        elif kind is bool:
            self.category(name, at, "true" if value else "false")
        elif kind is list:
            self.number(measures.length_of(name), at, float(len(value)))
            self._kind(name, at, "array")
        elif value is not None:
            self._kind(name, at, "object")

    def _kind(self, name: str, at: int, kind: str) -> None:
        self.category(measures.kind_of(name), at, kind)
        if name == measures.PREDICTION:
            measures.tell_unmeasured(kind)

    def hidden(self, name: str, at: int, value: Any) -> None:
        """Set a value of a hashed feature: a category, or a count of its kind.

        It has no length, because a length would reveal something about the value.
        """
        if isinstance(value, str):
            self.category(name, at, value)
        elif value is not None:
            self.category(measures.kind_of(name), at, "array" if isinstance(value, list) else "object")

    def embedding(self, name: str, at: int, value: Any, measured: list[float] | None) -> None:
        """Set the norm and projections of an embedding.

        `measured` is None for a value that is no embedding; it is counted by its kind under the norm's name. An array
        of numbers and null is a missing value.
        """
        norm = measures.norm_of(name)
        if measured is None:
            if value is not None and not has_gaps(value):
                self.category(measures.kind_of(norm), at, "array" if isinstance(value, list) else "other")
            return
        self.number(norm, at, measured[0])
        for number, along in enumerate(measured[1:]):
            self.number(measures.projection_of(number, name), at, along)

    def coded(self) -> dict[str, Coded]:
        """The categorical columns."""
        return {name: Coded.of(column) for name, column in self.categories.items()}

    def arrays(self) -> dict[str, F64]:
        """The numeric columns."""
        return {name: np.array(column) for name, column in self.numbers.items()}


class Reading(NamedTuple):
    """The settings by which features are read."""

    specs: Collection[Spec]
    privacy: Privacy
    embeddings: Embeddings


def of_predictions(model: str, rows: Sequence[int], events: Sequence[Prediction], reading: Reading) -> Columns:
    """Columns of predictions of one model; `rows` are their row numbers in the commit."""
    specs, privacy, embeddings = reading
    built = Builder(len(events))
    names: dict[str, str] = {}
    for row, event in enumerate(events):
        for feature, value in event.features.items():
            name = names.get(feature)
            if name is None:
                name = names[feature] = measures.feature_measure(feature)
            if feature in privacy.hashed:
                built.hidden(name, row, privacy.hide(feature, value))
            elif feature not in privacy.dropped:
                built.value(name, row, value)
                if feature in embeddings:
                    _embedding(built, row, (feature, name, value), embeddings)
        _answer(built, row, event)
    return Columns(
        models=Coded.one(model, len(events)),
        rows=np.array(rows, np.int64),
        versions=Coded.of([event.version for event in events]),
        numeric=built.arrays(),
        categorical=built.coded(),
        segments={spec: Coded.of([segment_of(spec, e.tags, e.features, privacy) for e in events]) for spec in specs},
        vectors=built.vectors,
    )


def _embedding(built: Builder, at: int, sent: tuple[str, str, Any], embeddings: Embeddings) -> None:
    """Set the measures of an embedding, and keep its vector if the rows of predictions are sampled.

    `sent` is (feature, measure, value).
    """
    feature, name, value = sent
    vector = embeddings.vector(feature, value)
    built.embedding(name, at, value, None if vector is None else embeddings.measured(feature, vector))
    if vector is not None and embeddings.sampled:
        built.vectors.setdefault(name, {})[at] = as_sent(vector)


def _answer(built: Builder, at: int, event: Prediction) -> None:
    answer = event.prediction
    built.value(measures.PREDICTION, at, answer)
    built.number(measures.NULL_ANSWER, at, float(answer is None or answer in ("", [], {})))
    score = score_of(event)
    if score is not None:
        built.number(measures.SCORE, at, score)
    if event.latency_ms is not None:
        built.number(measures.LATENCY, at, event.latency_ms)
    if event.human_prediction is not None:
        built.number(measures.OVERRIDDEN, at, float(not same_class(event.human_prediction, answer)))


def score_of(event: Prediction) -> float | None:
    """The model's confidence.

    That is `probabilities` itself if it is a number, the largest one of a list, and of an object the one of the answer,
    or else the largest.
    """
    given = event.probabilities
    if given is None or isinstance(given, float):
        return given
    if isinstance(given, list):
        return max((score for score in given if score is not None), default=None)
    answer = event.prediction
    key = ("false", "true")[answer] if isinstance(answer, bool) else answer
    score = given.get(key) if isinstance(key, str) else None
    return score if score is not None else max((each for each in given.values() if each is not None), default=None)


def segment_of(spec: Spec, tags: Mapping[str, Any], features: Mapping[str, Any], privacy: Privacy) -> str | None:
    """The segment of an event; its values come from the tags, or else the features. None where a field is absent."""
    parts = []
    for name in spec:
        value = privacy.hide(name, tags.get(name, features.get(name)))
        if value is None or isinstance(value, list | dict):
            return None
        parts.append(segment_part(name, value))
    return measures.bounded(",".join(parts))


WHOLE = 2.0**63
"""Whole numbers below are named without a fraction."""


def segment_part(name: str, value: str | bool | int | float) -> str:
    """The part of a segment's name that a field gives, such as "country=DE".

    A whole number has one name, whether it is written as 17 or 17.0, and the name has all its digits.
    """
    if isinstance(value, bool):
        return f"{name}={('false', 'true')[value]}"
    if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE:
        value = int(value)
    return f"{name}={value}"


def of_observations(model: str, rows: Sequence[int], events: Sequence[Observation]) -> Columns:
    """Columns of observations of one model."""
    built = Builder(len(events))
    for row, event in enumerate(events):
        for name, value in event.measures.items():
            if value is not None:
                built.number(measures.bounded(name), row, value)
    models = Coded.one(model, len(events))
    return Columns(models, np.array(rows, np.int64), Coded.of([e.version for e in events]), built.arrays())


def merge(parts: Sequence[Columns]) -> Columns:
    """Concatenate one model's columns of several slices."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part.rows) for part in parts]
    numeric = {
        name: np.concatenate([_numbers(part, name, size) for part, size in zip(parts, sizes, strict=True)])
        for name in dict.fromkeys(name for part in parts for name in part.numeric)
    }
    return Columns(
        models=Coded.chain([part.models for part in parts]),
        rows=np.concatenate([part.rows for part in parts]),
        versions=Coded.chain([part.versions for part in parts]),
        numeric=numeric,
        categorical=_chain([part.categorical for part in parts], sizes),
        segments=_chain([part.segments for part in parts], sizes),
        vectors=_vectors([part.vectors for part in parts], sizes),
    )


def _vectors(parts: Sequence[Vectors], sizes: Sequence[int]) -> Vectors:
    merged: Vectors = {}
    for part, start in zip(parts, itertools.accumulate(sizes, initial=0), strict=False):
        for name, vectors in part.items():
            merged.setdefault(name, {}).update({start + row: vector for row, vector in vectors.items()})
    return merged


def _numbers(part: Columns, name: str, size: int) -> F64:
    column = part.numeric.get(name)
    return np.full(size, np.nan) if column is None else column


def _chain(parts: Sequence[dict[Any, Coded]], sizes: Sequence[int]) -> dict[Any, Coded]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: Coded.chain([part.get(name) or Coded.absent(size) for part, size in zip(parts, sizes, strict=True)])
        for name in names
    }
