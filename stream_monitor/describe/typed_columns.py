"""Columns of typed events: what `columns.of_predictions` makes of generic ones, many values a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from stream_monitor.describe import measures
from stream_monitor.describe.columns import Builder, Coded, Columns, Spec, score_of, segment_of
from stream_monitor.events.typed import Kind, Shape
from stream_monitor.types import F64

_FLAGS = ["false", "true"]
_FLAG_CODES = {False: 0, True: 1, None: -1}
MAX_NAMES = 10_000
"""Names that a column's interning keeps before it starts anew."""

Getter = Callable[[Any], tuple[Any, ...]]
_features, _prediction, _probabilities = attrgetter("features"), attrgetter("prediction"), attrgetter("probabilities")
_latency, _human, _version = attrgetter("latency_ms"), attrgetter("human_prediction"), attrgetter("version")


class Interner:
    """Codes the values of one column across slices, so that their columns can be chained as they are."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._codes: dict[str | None, int] = {None: -1}

    def code(self, values: Sequence[str | None]) -> Coded:
        """The values as codes; long names are bounded."""
        try:
            return Coded(np.fromiter(map(self._codes.__getitem__, values), np.int64, len(values)), self.names)
        except KeyError:
            return self._widened(values)

    def _widened(self, values: Sequence[str | None]) -> Coded:
        if len(self.names) > MAX_NAMES:
            self.names, self._codes = [], {None: -1}
        for value in values:
            if value is not None and value not in self._codes:
                self._codes[value] = len(self.names)
                self.names.append(value)
        return self.code(values) if len(self.names) <= MAX_NAMES else Coded.of(values)


class Plan:
    """How the fields of a compiled struct become columns."""

    def __init__(self, shape: Shape) -> None:
        self.model = shape.model
        self.fields = {name: f"f{i}" for i, name in enumerate(shape.features)}
        self.numbers = [measures.feature_measure(name) for name in shape.names("number")]
        self.get_numbers = self._getter(shape.names("number"))
        others: list[Kind] = ["text", "flag", "any"]
        self.others = [(measures.feature_measure(name), kind) for kind in others for name in shape.names(kind)]
        self.get_others = self._getter([name for kind in others for name in shape.names(kind)])
        self.prediction: Kind = shape.prediction or "any"
        self.interners: dict[str, Interner] = {}
        self.versions = Interner()

    def _getter(self, names: Sequence[str]) -> Getter:
        paths = [self.fields[name] for name in names]
        if len(paths) == 1:
            get = attrgetter(paths[0])
            return lambda features: (get(features),)
        return attrgetter(*paths) if paths else lambda features: ()

    def interner(self, measure: str) -> Interner:
        """The interner of a measure's column."""
        found = self.interners.get(measure)
        if found is None:
            found = self.interners[measure] = Interner()
        return found


def plan_of(kind: Any) -> Plan:
    """The plan of a compiled struct, made once."""
    plan: Plan | None = kind.__dict__.get("plan")
    if plan is None:
        plan = kind.plan = Plan(kind.shape)
    return plan


def of_typed(rows: list[int], events: Sequence[Any], specs: Sequence[Spec]) -> Columns:
    """Columns of typed events of one model and one struct."""
    plan = plan_of(type(events[0]))
    versions = plan.versions.code(list(map(_version, events)))
    columns = Columns(plan.model, np.array(rows, np.int64), versions)
    features = list(map(_features, events))
    if plan.numbers:
        for name, values in zip(plan.numbers, _table(plan, features).T, strict=True):
            _put_numbers(columns, name, values)
    if plan.others:
        found = zip(*map(plan.get_others, features), strict=True)
        for (name, kind), column in zip(plan.others, found, strict=True):
            _put_values(columns, plan, name, (kind, column))
    _put_answers(columns, plan, events)
    for spec in specs:
        columns.segments[spec] = Coded.of(_segments(spec, plan, events))
    return columns


def _table(plan: Plan, features: list[Any]) -> F64:
    size = len(plan.numbers) * len(features)
    try:
        flat = np.fromiter(chain.from_iterable(map(plan.get_numbers, features)), np.float64, size)
    except TypeError:  # a missing value is None, which only the slower way reads as NaN
        return np.array(list(map(plan.get_numbers, features)), np.float64)
    return flat.reshape(-1, len(plan.numbers))


def _put_numbers(columns: Columns, name: str, values: F64) -> None:
    if not np.isnan(values).all():
        columns.numeric[name] = values


def _put_values(columns: Columns, plan: Plan, name: str, typed: tuple[Kind, Sequence[Any]]) -> None:
    """Any column of values of one kind."""
    kind, values = typed
    if kind == "number":
        _put_numbers(columns, name, np.array(values, np.float64))
    elif kind == "flag":
        codes = np.fromiter(map(_FLAG_CODES.__getitem__, values), np.int64, len(values))
        if (codes >= 0).any():
            columns.categorical[name] = Coded(codes, _FLAGS)
    elif kind == "text":
        coded = plan.interner(name).code(values)
        if (coded.codes >= 0).any():
            columns.numeric[measures.length_of(name)] = coded.lengths()
            columns.categorical[name] = _bounded(coded)
    else:
        built = Builder(len(values))
        for at, value in enumerate(values):
            built.value(name, at, value)
        columns.numeric |= built.arrays()
        columns.categorical |= built.coded()


def _bounded(coded: Coded) -> Coded:
    if max(map(len, coded.names)) <= measures.MAX_TEXT:
        return coded
    names = [measures.bounded(name) for name in coded.names]
    return Coded.chain([Coded(coded.codes, names)])


def _put_answers(columns: Columns, plan: Plan, events: Sequence[Any]) -> None:
    answers = list(map(_prediction, events))
    _put_values(columns, plan, measures.PREDICTION, (plan.prediction, answers))
    if plan.prediction in ("number", "flag"):
        null = (
            np.array([answer is None for answer in answers], np.float64) if None in answers else np.zeros(len(answers))
        )
    else:
        null = np.array([answer is None or answer in ("", [], {}) for answer in answers], np.float64)
    columns.numeric[measures.NULL_ANSWER] = null
    given = list(map(_probabilities, events))
    if not set(map(type, given)) <= {float, type(None)}:
        given = [score_of(event) for event in events]
    _put_numbers(columns, measures.SCORE, np.array(given, np.float64))
    _put_numbers(columns, measures.LATENCY, np.array(list(map(_latency, events)), np.float64))
    human = list(map(_human, events))
    if any(value is not None for value in human):
        overridden = [None if h is None else float(h != a) for h, a in zip(human, answers, strict=True)]
        columns.numeric[measures.OVERRIDDEN] = np.array(overridden, np.float64)


def _segments(spec: Spec, plan: Plan, events: Sequence[Any]) -> list[str | None]:
    fields = {name: attrgetter(f"features.{plan.fields[name]}") for name in spec if name in plan.fields}
    found: list[str | None] = []
    for event in events:
        features = {name: value for name, get in fields.items() if (value := get(event)) is not None}
        found.append(segment_of(spec, event.tags, features))
    return found
