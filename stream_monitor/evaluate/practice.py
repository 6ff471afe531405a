"""The practice table: what a normal team sends, what goes wrong with it, and when the product tells, with its defaults.

A cell is one pace of traffic and one fault. A model sends predictions with two numbers, a category and a latency;
labels come half a minute later, and users click. Another model goes on unchanged. Both stages run as in a replay of a
file, with default settings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from stream_monitor.config.detection import LADDER
from stream_monitor.config.settings import Settings
from stream_monitor.detect.false_alarm_budget import sequential_ms
from stream_monitor.evaluate.streams import Rng, Step, limit, seeded
from stream_monitor.events.contracts import Alert
from stream_monitor.file_replay import published

Row = dict[str, Any]
T0 = 1_760_000_400_000
MODEL, OTHER = "shop", "other"
PLANS = ("free", "basic", "pro", "team")
LABEL_DELAY_MS = 30_000
MIN_VALUES = 50
LEAST_EVENTS = 300
"""A fault is found in time within so many events, whatever else the mark says."""
MINUTE, HOUR = 60_000, 3_600_000


class Pace(NamedTuple):
    """Traffic: a prediction every `gap_ms`; so many before the fault, and after it."""

    name: str
    gap_ms: float
    calm: int
    after: int
    labelled: float
    """Share of predictions that get a label, and a click or none."""


PACES = (
    Pace("1,000/s", 1, 180_000, 240_000, 0.1),
    Pace("1/s", 1_000, 12_000, 8_000, 1.0),
    Pace("3/min", 20_000, 5_000, 3_000, 1.0),
    Pace("0.5/min", 120_000, 1_600, 1_200, 1.0),
)


class Fault(NamedTuple):
    """What goes wrong, and the alerts that tell it."""

    name: str
    measures: frozenset[str]
    kinds: frozenset[str]
    step: Step | None = None
    """The change as one of a stream of values, for the least delay that any detector can have."""


def _fault(name: str, measures: str, kinds: str, step: Step | None = None) -> Fault:
    return Fault(name, frozenset(measures.split()), frozenset(kinds.split()), step)


FAULTS = (
    _fault("3 σ shift", "x", "drift", Step("3 σ", "normal", 3.0)),
    _fault(".3 σ shift", "x", "drift", Step(".3 σ", "normal", 0.3)),
    _fault("feature dies", "x", "quality", Step("", "", 0.999, 0.001)),
    _fault("5 % missing", "x", "quality", Step("", "", 0.05, 0.001)),
    _fault("new category of 3 %", "plan", "quality drift", Step("", "", 0.03, 0.001)),
    _fault("error .05→.25", "error label", "drift", Step("", "", 0.25, 0.05)),
    _fault("clicks .12→.06", "signal.click", "drift", Step("", "", 0.06, 0.12)),
    _fault("latency p99 × 10", "latency_ms", "drift", Step("", "", 0.03, 0.01)),
    _fault("model silent", "volume", "silence"),
    _fault("a clock behind", "volume", "quality"),
)


def practice(seeds: int, seed: int, paces: tuple[Pace, ...] = PACES) -> list[partial[list[Row]]]:
    """A task for each cell of the table; each runs `seeds` streams."""
    return [partial(_cell, pace, fault, seeds, seed) for pace in paces for fault in FAULTS]


@dataclass(slots=True)
class Found:
    """What the streams of a cell led to."""

    delays: list[float] = field(default_factory=list)
    """ms of event time from the fault to the first alert about it; infinite when it was not found."""
    incidents: list[int] = field(default_factory=list)
    """Incidents that opened after the fault."""
    false: int = 0
    """Alerts that opened before it."""


def _cell(pace: Pace, fault: Fault, seeds: int, seed: int) -> list[Row]:
    found, settings = Found(), Settings()
    begins = T0 + round(pace.calm * pace.gap_ms)
    for number in range(seeds):
        alerts = [
            record
            for record in published(
                settings, events(pace, fault, seeded(seed, "practice", pace.name, fault.name, number))
            )
            if isinstance(record, Alert) and record.status == "open" and record.model == MODEL
        ]
        about = [a.ts for a in alerts if a.ts > begins and a.measure in fault.measures and a.kind in fault.kinds]
        found.delays.append(min(about, default=math.inf) - begins)
        found.incidents.append(len({a.incident for a in alerts if a.opened_ts >= begins - pace.gap_ms}))
        found.false += sum(a.ts <= begins for a in alerts)
    allowed = mark_ms(pace, fault, settings)
    in_time = sum(delay <= allowed for delay in found.delays)
    middle = float(np.median(found.delays))
    return [
        {
            "pace": pace.name, "fault": fault.name, "found": sum(map(math.isfinite, found.delays)) / seeds,
            "minutes": middle / MINUTE, "events": middle / pace.gap_ms, "mark": allowed / MINUTE,
            "in_time": in_time / seeds, "incidents": float(np.mean(found.incidents)), "false": found.false,
            "runs": seeds, "ok": in_time >= math.ceil(0.9 * seeds),
        }
    ]  # fmt: skip


def mark_ms(pace: Pace, fault: Fault, settings: Settings) -> float:
    """Until when a fault must be told, ms of event time.

    The latest of 300 events, three times the least delay of any detector at its share of the budget, and two of the
    smallest windows that hold 50 events. A silent model: ten usual gaps, or two of the smallest windows and what is
    waited for.
    """
    slack = settings.time.allowed_lateness + settings.time.idle_after
    if fault.kinds == {"silence"}:
        return max(10 * pace.gap_ms, 2 * LADDER[0].size + slack)
    gap = pace.gap_ms / (pace.labelled if fault.measures & {"error", "signal.click"} else 1.0)
    least = 0.0
    if fault.step is not None:
        least = 3 * gap * limit(fault.step, sequential_ms(settings.detection) / gap)
    fits = (spec.size for spec in LADDER if spec.size >= MIN_VALUES * gap)
    return max(LEAST_EVENTS * gap, least, 2 * next(fits, LADDER[-1].size)) + slack


# --- the stream ---


def events(pace: Pace, fault: Fault, rng: Rng) -> Iterator[bytes]:
    """The events of a cell in the order of their time."""
    waiting: list[tuple[int, bytes]] = []
    total = pace.calm + pace.after
    for at in range(total):
        ts, changed = T0 + round(at * pace.gap_ms), at >= pace.calm
        while waiting and waiting[0][0] <= ts:
            yield waiting.pop(0)[1]
        for model in (MODEL, OTHER):
            if model == OTHER and at % max(round(1_000 / pace.gap_ms), 1):
                continue  # the other model sends at most one event a second
            hit = changed and model == MODEL
            if hit and fault.name == "model silent":
                continue
            event, outcome = _prediction(at, ts, model, fault.name if hit else "", rng)
            yield json.dumps(event).encode()
            if rng.random() < pace.labelled:
                late = ts + LABEL_DELAY_MS
                waiting += [(late, json.dumps({"id": event["id"], "ts": late} | body).encode()) for body in outcome]
    for _, raw in waiting:
        yield raw


def _prediction(at: int, ts: int, model: str, fault: str, rng: Rng) -> tuple[Row, list[Row]]:
    """A prediction, and the bodies of its label and of its feedback."""
    x, y, latency = float(rng.normal()), float(rng.lognormal()), float(rng.lognormal(3.0, 0.4))
    features: Row = {"x": x, "y": y, "plan": PLANS[min(int(rng.exponential(1.2)), 3)]}
    error, click = 0.05, 0.12
    match fault:
        case "3 σ shift":
            features["x"] = x + 3
        case ".3 σ shift":
            features["x"] = x + 0.3
        case "feature dies":
            features["x"] = None
        case "5 % missing":
            features["x"] = None if rng.random() < 0.05 else x
        case "new category of 3 %":
            features["plan"] = "gold" if rng.random() < 0.03 else features["plan"]
        case "error .05→.25":
            error = 0.25
        case "clicks .12→.06":
            click = 0.06
        case "latency p99 × 10":
            latency *= 10 if rng.random() < 0.03 else 1
        case "a clock behind":
            ts -= 10 * MINUTE if at % 2 else 0
    answer = bool(rng.random() < 0.3)
    event = {
        "id": f"{model}-{at}", "ts": ts, "model": model, "features": features, "prediction": answer,
        "latency_ms": latency,
    }  # fmt: skip
    label = answer if rng.random() >= error else not answer
    return event, [{"label": label}, {"signals": {"click": float(rng.random() < click)}}]
