"""Named, seeded streams that the tests share."""

from __future__ import annotations

import json
import random
from typing import Any, NamedTuple

from stream_monitor.config.durations import DAY, HOUR
from stream_monitor.config.settings import Settings, parse

T0 = 1_700_000_000_000
MONDAY = 1_699_833_600_000
"""2023-11-13, midnight UTC."""


class Event(NamedTuple):
    role: str
    id: str
    ts: int
    raw: bytes


def quick_settings(**sections: Any) -> Settings:
    """Small panes, windows and baselines, so that a few hundred events tell a whole story."""
    return parse(
        {
            "time": {"pane": "1s", "windows": ["10s"], "allowed_lateness": "5s", "max_skew": "1s"},
            "baseline": {"first": 100},
            "join": {"label_horizon": "1m", "early_horizon": "10s", "grain": "10s", "revisions": ["0s", "20s"]},
            "detection": {
                "min_count": 20,
                "input": ["cusum"],
                "outcome": ["cusum", "adwin", "e_sr"],
                "cooldown": "5s",
            },
            **sections,
        }
    )


def shop(seed: int, count: int = 600, models: int = 2) -> list[Event]:
    """A minute and more of two models: numbers, categories, gaps, duplicates, labels (late, corrected), feedback.

    Half-way the feature `amount` doubles. In event time order, jittered by less than the allowed lateness.
    """
    rng = random.Random(seed)
    events: list[Event] = []
    for i in range(count):
        ts = T0 + i * 100 + rng.randrange(-900, 900)
        model = f"m{rng.randrange(models)}"
        amount = rng.gauss(10, 2) * (2 if i > count / 2 else 1)
        features = {"amount": amount, "country": rng.choice(["DE", "FR", "IT"]), "n": rng.randrange(5)}
        if rng.random() < 0.1:
            del features["n"]
        answer = rng.choice([True, False]) if model == "m0" else rng.gauss(0, 1)
        body = {"id": f"e{i}", "model": model, "ts": ts, "features": features, "prediction": answer}
        body["latency_ms"] = rng.expovariate(1 / 50)
        events.append(Event("predictions", f"e{i}", ts, json.dumps(body).encode()))
        if rng.random() < 0.05:
            events.append(Event("predictions", f"e{i}", ts + 200, json.dumps(body | {"ts": ts + 200}).encode()))
        events += _answers(rng, i, ts, model)
    events.sort(key=lambda event: event.ts)
    return events


def mirrored(events: list[Event], seed: int = 7, delay: int = 400) -> list[Event]:
    """The same, where a version `2` answers most requests of version `1`, too, and a version `3` some of them."""
    rng, made = random.Random(seed), list[Event]()
    for event in events:
        if event.role != "predictions":
            made.append(event)
            continue
        body = json.loads(event.raw) | {"version": "1"}
        made.append(event._replace(raw=json.dumps(body).encode()))
        for version, share in (("2", 0.9), ("3", 0.3)):
            if rng.random() < share:
                answer = body["prediction"]
                other = (not answer if rng.random() < 0.2 else answer) if isinstance(answer, bool) else rng.gauss(0, 1)
                ts = event.ts + rng.randrange(-delay, delay)
                more = {"version": version, "prediction": other if rng.random() < 0.95 else None, "ts": ts}
                made.append(event._replace(ts=ts, raw=json.dumps(body | more).encode()))
    made.sort(key=lambda event: event.ts)
    return made


def mornings(seed: int, days: int = 16) -> list[Event]:
    """From nine to eleven each day: two hours whose values differ, sixty events each; on day 11 `amount` doubles."""
    rng = random.Random(seed)
    events: list[Event] = []
    for i in range(days * 120):
        day, minute = divmod(i, 120)
        ts = MONDAY + day * DAY + 9 * HOUR + minute * 60_000 + rng.randrange(60_000)
        amount = rng.gauss(10 if minute < 60 else 16, 2) * (2 if day == 11 else 1)
        features = {"amount": amount, "country": rng.choice(["DE", "FR"] if minute < 60 else ["IT", "FR"])}
        body = {"id": f"e{i}", "model": "m0", "ts": ts, "features": features, "prediction": rng.random() < 0.5}
        events.append(Event("predictions", f"e{i}", ts, json.dumps(body).encode()))
    events.sort(key=lambda event: event.ts)
    return events


def _answers(rng: random.Random, i: int, ts: int, model: str) -> list[Event]:
    found: list[Event] = []
    if rng.random() < 0.8:
        at = ts + rng.randrange(-3_000, 15_000)
        truth = rng.choice([True, False]) if model == "m0" else rng.gauss(0, 1)
        label = {"id": f"e{i}", "ts": at, "label": truth, "labeler": rng.choice(["a", "b", None])}
        found.append(Event("labels", f"e{i}", at, json.dumps(label).encode()))
        if rng.random() < 0.2:
            second = label | {"ts": at + 2_000, "label": not truth if model == "m0" else truth + 1}
            found.append(Event("labels", f"e{i}", at + 2_000, json.dumps(second).encode()))
    if rng.random() < 0.3:
        at = ts + rng.randrange(0, 4_000)
        body = {"id": f"e{i}", "ts": at, "signals": {"click": 1, "redo": rng.randrange(2)}}
        found.append(Event("feedback", f"e{i}", at, json.dumps(body).encode()))
    return found
