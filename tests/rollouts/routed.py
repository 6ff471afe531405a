"""A router in front of a replay: it draws a version for each request by the weights of the last decision."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.events.rollouts import Action, RolloutDecision
from stream_monitor.file_replay import Replay
from stream_monitor.profiles.records import RolloutRecord
from stream_monitor.stages.contract import Output
from tests.streams import T0, quick_settings

PLAN = """
rollout: fraud-42
model: fraud
candidate: "42"
primary: "41"
steps: [{weight: 20%, for: 30s, margins: 4}, {weight: 50%, for: 30s}]
guards: [{measure: error, margin: 50%}, {measure: null_answer, margin: 5pp}]
stale_after: 5m
"""
SHADOW = """
rollout: fraud-42
model: fraud
candidate: "42"
primary: "41"
pattern: shadow
steps: [{for: 60s, count: 500}]
guards:
  - {measure: error, margin: 50%}
  - {measure: agrees, margin: 30%}
  - {measure: null_answer, margin: 5pp}
stale_after: 5m
"""
RATE = 40
"""Requests a second."""
DELAY = 12_000
"""Labels come after so many ms, each with a part of it more."""
Fed = tuple[str, bytes] | RolloutRecord


@dataclass
class Version:
    """How a version answers."""

    error: float = 0.1
    latency: float = 50.0
    null: float = 0.01
    click: float = 0.5
    true: float = 0.3


class Router:
    """Keeps the number of the last decision that it applied, as the docs tell routers to."""

    def __init__(self) -> None:
        self.seq, self.weight = 0, 0.0

    def apply(self, decision: RolloutDecision) -> None:
        """Apply a decision that is later than the last one."""
        if decision.seq > self.seq:
            self.seq = decision.seq
            if decision.weights and decision.pattern != "shadow":
                self.weight = decision.weights.get(decision.candidate, 0.0)


class RoutedReplay:
    """Requests of a model second by second, their labels and clicks, and the decisions about its rollout."""

    def __init__(self, settings: Settings | None = None, seed: int = 1) -> None:
        self.settings, self.rng = settings or quick_settings(), random.Random(seed)
        self.router, self.decided, self.outputs = Router(), list[RolloutDecision](), list[Output]()
        self.replay = Replay(self.settings, self._keep)
        self.second, self.orders, self.requests = 0, 0, 0
        self.log: list[Fed] = []
        """All that was fed, in order, to feed it again in other batches."""
        self._late: list[tuple[int, str, bytes]] = []
        self.mirrored = 0.0
        """Share of requests that the candidate answers besides the primary."""

    def _keep(self, output: Output) -> None:
        self.outputs.append(output)
        if output.role == "decisions":
            decision = msgspec.json.decode(output.value, type=RolloutDecision)
            self.decided.append(decision)
            self.router.apply(decision)

    @property
    def changes(self) -> list[RolloutDecision]:
        """Decisions that are more than a report."""
        return [decision for decision in self.decided if decision.decision != "progress"]

    @property
    def names(self) -> list[str]:
        return [decision.decision for decision in self.changes]

    def order(self, action: Action, text: str = "", **more: Any) -> None:
        """A person's command."""
        self.orders += 1
        about = {"model": "fraud", "rollout": "fraud-42", "command": f"c{self.orders}", "by": "person:anna"} | more
        record = RolloutRecord(action=action, text=text, **about)
        self.log.append(record)
        self.replay.order(record)

    def run(self, seconds: int, primary: Version, candidate: Version, labels: bool = True) -> RoutedReplay:
        """So many seconds of requests; each second is a batch."""
        for _ in range(seconds):
            lines = self.lines(primary, candidate, labels)
            self.log += lines
            self.replay.feed(lines)
        return self

    def lines(self, primary: Version, candidate: Version, labels: bool = True) -> list[tuple[str, bytes]]:
        """The next second: requests, and the labels and clicks that are due."""
        now = T0 + self.second * 1_000
        self.second += 1
        requests = [line for _ in range(RATE) for line in self._request(now, primary, candidate, labels)]
        due = sorted(one for one in self._late if one[0] < now + 1_000)
        self._late = [one for one in self._late if one[0] >= now + 1_000]
        return requests + [(role, raw) for _, role, raw in due]

    def _request(self, now: int, primary: Version, candidate: Version, labels: bool) -> list[tuple[str, bytes]]:
        self.requests += 1
        drawn = self.rng.random() < self.router.weight
        version, like = ("42", candidate) if drawn else ("41", primary)
        id_, ts = f"r{self.requests}", now + self.rng.randrange(1_000)
        answer = None if self.rng.random() < like.null else self.rng.random() < like.true
        truth = bool(answer) if self.rng.random() >= like.error else not answer
        event = {"id": id_, "model": "fraud", "version": version, "ts": ts, "prediction": answer,
                 "features": {"amount": self.rng.gauss(10, 2), "country": self.rng.choice(["DE", "FR"])},
                 "latency_ms": self.rng.lognormvariate(0, 0.7) * like.latency}  # fmt: skip
        if labels:
            later = ts + DELAY + self.rng.randrange(DELAY)
            self._late.append((later, "labels", json.dumps({"id": id_, "label": truth, "ts": later}).encode()))
            clicked = ts + self.rng.randrange(5_000)
            signals = {"click": int(self.rng.random() < like.click)}
            raw = json.dumps({"id": id_, "ts": clicked, "signals": signals}).encode()
            self._late.append((clicked, "feedback", raw))
        lines = [("predictions", json.dumps(event).encode())]
        if self.mirrored and self.rng.random() < self.mirrored:
            lines.append(("predictions", json.dumps(event | self._mirrored(truth, ts, candidate)).encode()))
        return lines

    def _mirrored(self, truth: bool, ts: int, like: Version) -> dict[str, Any]:
        """How the candidate answers a request of the primary."""
        answer = None if self.rng.random() < like.null else truth if self.rng.random() >= like.error else not truth
        took = self.rng.lognormvariate(0, 0.7) * like.latency
        return {"version": "42", "ts": ts + self.rng.randrange(300), "prediction": answer, "latency_ms": took}

    def again(self, batch: int) -> list[bytes]:
        """The decisions when the same log is fed in batches of another size, as they were published."""
        published = list[Output]()
        replay = Replay(self.settings, published.append)
        for part in _batches(self.log, batch):
            if isinstance(part, RolloutRecord):
                replay.order(part)
            else:
                replay.feed(part)
        return decisions_of(published)


def decisions_of(outputs: Iterable[Output]) -> list[bytes]:
    """The decisions among some outputs."""
    return [output.value for output in outputs if output.role == "decisions"]


def _batches(
    log: Iterable[tuple[str, bytes] | RolloutRecord], size: int
) -> Iterable[list[tuple[str, bytes]] | RolloutRecord]:
    lines: list[tuple[str, bytes]] = []
    for item in log:
        if isinstance(item, RolloutRecord):
            yield lines
            yield item
            lines = []
        else:
            lines.append(item)
            if len(lines) >= size:
                yield lines
                lines = []
    yield lines
