"""The output that the input demands: counts, joins and dead letters by docs/architecture.md, in plain Python."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from stream_monitor.config.settings import Settings
from stream_monitor.describe.decode.columns import segment_of
from stream_monitor.events.contracts import Feedback, Label, Prediction
from stream_monitor.events.decode import EARLIEST, Event, Reject
from stream_monitor.formats.registry import format_of
from stream_monitor.profiles import measures
from stream_monitor.profiles.names import NEVER
from stream_monitor.stages.contract import Headers
from stream_monitor.verify.pairs import Answer, ExpectedPairs

ALL = "all"
Cell = tuple[str, str, str, int]
"""Model, version, segment, and the start of a pane or of a grain of performance windows (epoch ms)."""

_FUTURE = "future"
_BEFORE_2000 = "before_2000"


@dataclass(slots=True)
class Counts:
    """Predictions of a cell."""

    accepted: int = 0
    duplicates: int = 0
    late: int = 0

    @property
    def total(self) -> int:
        """The sum of all counts."""
        return self.accepted + self.duplicates + self.late


@dataclass(slots=True)
class Values:
    """A measure of accepted predictions in a cell: how many values, and the aggregates of its numbers."""

    n: int = 0
    numbers: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: Any) -> None:
        """Add one JSON value; null, arrays and objects do not count."""
        if isinstance(value, str | bool):
            self.n += 1
        elif isinstance(value, int | float):
            self.n += 1
            self.numbers += 1
            self.total += value
            self.low, self.high = min(self.low, value), max(self.high, value)

    def merge(self, other: Values) -> None:
        """Add those of another cell."""
        self.n += other.n
        self.numbers += other.numbers
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)


@dataclass(slots=True)
class Performance:
    """Outcomes of a cell."""

    labelled: int = 0
    n: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    total: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    pairs: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, name: str, value: float | None, sign: int = 1) -> None:
        """Add one value of a measure, or remove it with sign -1."""
        if value is not None:
            self.n[name] += sign
            self.total[name] += sign * value


@dataclass(slots=True)
class Waiting:
    """A prediction that was accepted, and the labels and signals that arrived for it."""

    model: str
    version: str
    ts: int
    answer: Any
    segments: list[str]
    label: Any = None
    labeler: str | None = None
    labelled: bool = False
    signals: set[str] = field(default_factory=set)
    paired: Answer = field(kw_only=True)
    """The same as one of a pair."""


class Expected:
    """Takes the input in log order, partition by partition: first all predictions of one, then labels, feedback."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._privacy = settings.privacy.rules()
        given = settings.join.signals
        self._zeros = {measures.bounded(name): rules for name, rules in given.items() if rules.absent == "zero"}
        self.traffic: dict[Cell, Counts] = defaultdict(Counts)
        self.values: dict[Cell, dict[str, Values]] = defaultdict(lambda: defaultdict(Values))
        """By measure: features, the prediction and its latency."""
        self.performance: dict[Cell, Performance] = defaultdict(Performance)
        self.pairs = ExpectedPairs(settings.join.label_horizon, settings.join.grain)
        self.rejected: dict[tuple[str, int, int], str] = {}
        """The reason, by topic, partition and offset."""
        self.watermarks: dict[int, int] = {}
        """Input watermark of each partition that had a prediction."""
        self.events: dict[str, int] = defaultdict(int)
        self._largest: dict[int, int] = {}
        self._ahead: dict[int, tuple[int, str, bool]] = {}
        """By partition: a time far ahead, the id of its event, and whether an event that was no jump came since."""
        self._waiting: dict[tuple[int, str], list[Waiting]] = defaultdict(list)

    def feed(
        self,
        role: str,
        partition: int,
        offset: int,
        arrived: int,
        value: bytes | None,
        stamped: bool = False,
        headers: Headers = (),
    ) -> None:
        """Process a record with the time `arrived` (epoch ms), which the broker has set where it is `stamped`."""
        self.events[role] += 1
        event = self._admissible(role, arrived, value, headers)
        match event:
            case Reject():
                self.rejected[self.settings.topic(role), partition, offset] = event.reason
            case Prediction():
                self._prediction(event, partition, stamped)
            case Label():
                self._label(event, partition, arrived if event.ts is None else event.ts)
            case Feedback():
                self._feedback(event, partition)

    def _admissible(self, role: str, arrived: int, value: bytes | None, headers: Headers) -> Event | Reject:
        event = format_of(self.settings.topics.formats, role).decode(role, value, headers)
        if not isinstance(event, Reject) and event.ts is not None:
            if event.ts < EARLIEST:
                return Reject(_BEFORE_2000, "")
            if event.ts > arrived + self.settings.time.max_skew:
                return Reject(_FUTURE, "")
        return event

    def _prediction(self, event: Prediction, partition: int, stamped: bool) -> None:
        rules = self.settings.time
        before = self._largest.get(partition)
        self._largest[partition] = self._advanced(event, partition, before, stamped)
        self.watermarks[partition] = self._largest[partition] - rules.allowed_lateness
        late = before is not None and event.ts < before - rules.allowed_lateness
        known = self._waiting[partition, event.id]
        horizon = self.settings.join.label_horizon
        oldest = -math.inf if before is None else before - rules.allowed_lateness - horizon
        duplicate = any((w.model, w.version) == (event.model, event.version) and w.ts >= oldest for w in known)
        found = [segment_of(spec, event.tags, event.features, self._privacy) for spec in self.settings.segments]
        segments = [ALL, *(segment for segment in found if segment is not None)]
        at = before if late and before is not None else event.ts
        kind: Literal["duplicates", "late", "accepted"]
        kind = "duplicates" if duplicate else "late" if late else "accepted"
        for segment in segments:
            counts = self.traffic[event.model, event.version, segment, at - at % rules.pane]
            setattr(counts, kind, getattr(counts, kind) + 1)
            if kind == "accepted":
                values = self.values[event.model, event.version, segment, at - at % rules.pane]
                for feature, value in event.features.items():
                    if feature not in self._privacy.dropped:
                        values[measures.feature_measure(feature)].add(self._privacy.hide(feature, value))
                values[measures.PREDICTION].add(event.prediction)
                values[measures.LATENCY].add(event.latency_ms)
        if not duplicate:
            answer = _value(event.prediction)
            alone = event.ts < oldest + horizon // 2
            about = event.model, event.version, event.ts, answer, _one_spelling(answer), segments, alone
            paired = Answer(*about, event.id)
            self.pairs.answer(paired, [waiting.paired for waiting in known])
            known.append(Waiting(event.model, event.version, event.ts, answer, segments, paired=paired))

    def _advanced(self, event: Prediction, partition: int, before: int | None, stamped: bool) -> int:
        """The partition's largest time after an event; one far ahead must be confirmed by another event."""
        jump, ahead = self.settings.time.jump, self._ahead.get(partition)
        if before is None or stamped or event.ts <= before + jump:
            now = event.ts if before is None else max(event.ts, before)
            if ahead is not None and ahead[0] <= now + jump:
                del self._ahead[partition]
            elif ahead is not None:
                self._ahead[partition] = *ahead[:2], True
            return now
        if ahead is None or event.ts < ahead[0] - jump:
            self._ahead[partition] = event.ts, event.id, False
        elif event.id != ahead[1] and event.ts <= ahead[0] + jump:
            del self._ahead[partition]
            return max(event.ts, ahead[0])
        elif event.id != ahead[1] and not ahead[2]:
            self._ahead[partition] = event.ts, event.id, False
            return ahead[0]
        return before

    def _joined(self, partition: int, event: Label | Feedback, ts: int) -> list[Waiting]:
        rules = self.settings.join
        return [
            waiting
            for waiting in self._waiting.get((partition, event.id), ())
            if -rules.early_horizon <= ts - waiting.ts <= rules.label_horizon and event.model in (None, waiting.model)
        ]

    def _cells(self, waiting: Waiting) -> list[Performance]:
        start = waiting.ts - waiting.ts % self.settings.join.grain
        return [self.performance[waiting.model, waiting.version, segment, start] for segment in waiting.segments]

    def _label(self, event: Label, partition: int, ts: int) -> None:
        label = _value(event.label)
        for waiting in self._joined(partition, event, ts):
            cells = self._cells(waiting)
            known, equal = waiting.labelled, waiting.label == label
            if known and None not in (event.labeler, waiting.labeler) and event.labeler != waiting.labeler:
                for cell in cells:
                    cell.add("label_disagreement", float(not equal))
                continue
            if known and equal:
                continue
            for cell in cells:
                if known:
                    _judge(cell, waiting.answer, waiting.label, -1)
                _judge(cell, waiting.answer, label, 1)
                cell.labelled += not known
            waiting.label, waiting.labeler, waiting.labelled = label, event.labeler, True
            if not known:
                paired, told = waiting.paired, Performance()
                _judge(told, waiting.answer, label, 1)
                paired.first, paired.error = (ts, label), told.total.get("error")
                paired.distance = told.total.get("absolute_error")
                self.pairs.first_label(paired)

    def _feedback(self, event: Feedback, partition: int) -> None:
        for waiting in self._joined(partition, event, event.ts):
            for signal, value in event.signals.items():
                name = measures.bounded(signal)
                late = name in self._zeros_of(waiting) and event.ts - waiting.ts > self._zeros[name].after
                if value is not None and name not in waiting.signals and not late:
                    waiting.signals.add(name)
                    for cell in self._cells(waiting):
                        cell.add(f"signal.{name}", value)

    def _zeros_of(self, waiting: Waiting) -> list[str]:
        """The signals whose absence is a 0 for the model of a prediction."""
        return [name for name, rules in self._zeros.items() if fnmatchcase(waiting.model, rules.models)]

    def absent_signals(self, watermarks: Mapping[int, int]) -> None:
        """Count as 0 the signals that never came, by the watermark of feedback of each partition."""
        for (partition, _), predictions in self._waiting.items():
            for waiting in predictions:
                for name in self._zeros_of(waiting):
                    due = waiting.ts + self._zeros[name].after < watermarks.get(partition, NEVER)
                    if due and name not in waiting.signals:
                        waiting.signals.add(name)
                        for cell in self._cells(waiting):
                            cell.add(f"signal.{name}", 0.0)


def _value(value: Any) -> Any:
    """A class as text, a number as float; any other value is no answer."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return measures.bounded(value)
    return float(value) if isinstance(value, int | float) else None


def _one_spelling(value: Any) -> Any:
    """An answer such that equal ones mean the same: classes and whole numbers by the name of the class."""
    name = _class(value)
    return value if name is None else name


def _judge(cell: Performance, answer: Any, label: Any, sign: int) -> None:
    """Compare an answer with its label: classes with classes, numbers with numbers, whole numbers with both."""
    cell.add("label", {"true": 1.0, "false": 0.0}.get(label.lower()) if isinstance(label, str) else label, sign)
    numbers = isinstance(answer, float) and isinstance(label, float)
    gap = answer - label if numbers else math.inf
    if math.isfinite(gap):
        cell.add("absolute_error", abs(gap), sign)
        cell.add("squared_error", gap * gap if math.isfinite(gap * gap) else None, sign)
        cell.add("bias", gap, sign)
        part = abs(gap) / abs(label) if label else math.inf
        cell.add("relative_error", part if math.isfinite(part) else None, sign)
    classes = isinstance(answer, str) and isinstance(label, str)
    names = _class(answer), _class(label)
    whole = all(name is not None and name.lstrip("-").isdigit() for name in names)
    small = numbers and all(0 <= value < 100 and value.is_integer() for value in (answer, label))
    if classes or (answer is not None and whole and not numbers) or small:
        cell.add("error", float(names[0] != names[1]), sign)
        cell.pairs[_spelled(answer), _spelled(label)] += sign
    elif not math.isfinite(gap):  # no numbers, or so far apart that no double holds it
        cell.add("incomparable", 1.0, sign)


def _class(value: Any) -> str | None:
    """The name of a class in one spelling; None for a number that is no whole one."""
    if value is None:
        return None
    if isinstance(value, float):
        return str(int(value)) if abs(value) < 2**53 and value.is_integer() else None
    if value in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return str(int(value.lower() == "true"))
    digits = value.partition(".")
    whole = digits[0].lstrip("-").isascii() and digits[0].removeprefix("-").isdigit()
    plain = whole and not (len(digits[0].removeprefix("-")) > 1 and digits[0].removeprefix("-")[0] == "0")
    zeros = not digits[1] or (0 < len(digits[2]) <= 15 and not digits[2].strip("0"))
    return str(int(digits[0])) if plain and zeros and abs(int(digits[0])) < 2**53 else str(value)


def _spelled(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) else str(value)
