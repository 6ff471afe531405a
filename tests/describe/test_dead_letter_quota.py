"""A source that floods us with what cannot be counted: decided by its log alone, and every event accounted for."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from stream_monitor.config.settings import Settings
from stream_monitor.describe.stage import Describe
from stream_monitor.errors import QuarantineError
from stream_monitor.events.contracts import DeadLetter
from stream_monitor.file_replay import Line, replay
from stream_monitor.kafka.loop import Report
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.stages.contract import Output, Position
from stream_monitor.stages.topology import Topology
from stream_monitor.telemetry.metrics import Telemetry
from stream_monitor.verify.compare import compare
from stream_monitor.verify.expected import Expected
from stream_monitor.verify.published import Published
from tests.streams import T0, quick_settings

PARTS = [(role, 0) for role in ("predictions", "labels", "feedback")]
BAD = [b"{", b'{"id":"x"}', b""]


def flood(seed: int, count: int = 1_500) -> list[bytes]:
    """Mostly good events, then mostly bad ones, then good ones again."""
    rng = random.Random(seed)
    lines = []
    for i in range(count):
        bad = rng.random() < (0.7 if count / 3 < i < 2 * count / 3 else 0.05)
        good = json.dumps({"id": f"e{i}", "ts": T0 + i, "features": {"x": i % 7}}).encode()
        lines.append(rng.choice(BAD) if bad else good)
    return lines


def rules_for(**rules: Any) -> Settings:
    return quick_settings(dead_letters={"limit": 0.1, "burst": 30} | rules)


class Worker:
    """The describe stage over one partition; `restart` is a new process at the committed offsets."""

    def __init__(self, rules: Settings, lines: list[bytes]) -> None:
        self.rules, self.lines, self.letters = rules, lines, list[DeadLetter]()
        self.committed = {part: Position(0, "") for part in PARTS}
        self.restart()

    def restart(self) -> None:
        self.stage = Describe(self.rules, Topology(1, 1, 1), BinCatalog())
        self.at = self.stage.assign(self.committed, {})["predictions", 0]

    def abort(self) -> None:
        """A commit that did not happen."""
        list(self.stage.flush({}))
        self.stage.revoke(PARTS)
        self.at = self.stage.assign(self.committed, {})["predictions", 0]

    def step(self, count: int) -> None:
        lines = self.lines[self.at : self.at + count]
        self.stage.process("predictions", [Line(line, self.at + i, T0 + 10_000) for i, line in enumerate(lines)])
        self.at += len(lines)

    def commit(self) -> None:
        outputs = list(self.stage.flush({}))
        found = [msgspec.json.decode(o.value, type=DeadLetter) for o in outputs if o.role == "dead-letters"]
        self.letters += found
        self.committed |= self.stage.offsets([0] * sum(output.tracked for output in outputs))
        self.stage.committed()

    def decided(self) -> tuple[list[int], Counter[str]]:
        """(offsets that got a letter of their own, events by reason)."""
        single = [letter.offset for letter in self.letters if letter.last_offset is None]
        reasons: Counter[str] = Counter()
        for letter in self.letters:
            reasons[letter.reason] += letter.count
        return single, reasons


@pytest.mark.parametrize("seed", range(6))
def test_which_events_get_a_letter_does_not_depend_on_batches_commits_aborts_or_restarts(seed: int) -> None:
    lines = flood(seed)
    whole = Worker(rules_for(), lines)
    whole.step(len(lines))
    whole.commit()
    broken, rng = Worker(rules_for(), lines), random.Random(seed)
    acts: list[Callable[[], None]] = [broken.commit, broken.commit, broken.restart, broken.abort, lambda: None]
    while broken.at < len(lines) or broken.committed["predictions", 0].offset < len(lines):
        broken.step(rng.randrange(1, 90))
        rng.choice(acts)()
    assert broken.decided() == whole.decided()
    single, reasons = whole.decided()
    assert 30 < len(single) < 30 + 0.1 * len(lines)
    assert sum(reasons.values()) == sum(line in BAD for line in lines)


def test_a_worker_that_shall_stop_stops_at_the_same_event_however_often_it_is_started() -> None:
    worker = Worker(rules_for(above="stop"), flood(1))
    told = set()
    for size in (50, 7, 400):
        worker.restart()
        with pytest.raises(QuarantineError, match=r"stream-monitor\.predictions/0: too many events") as stopped:
            while True:
                worker.step(size)
                worker.commit()
        told.add(str(stopped.value))
    assert len(told) == 1
    assert all(letter.count == 1 for letter in worker.letters)


def test_after_the_setting_is_changed_nothing_is_missing() -> None:
    lines = flood(2)
    worker = Worker(rules_for(above="stop"), lines)
    with pytest.raises(QuarantineError):
        while True:
            worker.step(50)
            worker.commit()
    worker.rules = rules_for(above="count")
    worker.restart()
    worker.step(len(lines))
    worker.commit()
    whole = Worker(rules_for(), lines)
    whole.step(len(lines))
    whole.commit()
    assert worker.decided() == whole.decided()


def replayed(lines: list[bytes]) -> tuple[Expected, Published, list[dict[str, Any]]]:
    rules, told, metrics = rules_for(), Published(), list[dict[str, Any]]()

    def publish(output: Output) -> None:
        told.feed(output.role, output.value)
        if output.role == "metrics":
            metrics.append(json.loads(output.value))

    run = replay(rules, [("predictions", line) for line in lines], publish)
    truth = Expected(rules)
    for offset, line in enumerate(lines):
        truth.feed("predictions", 0, offset, run.driver.started, line)
    return truth, told, metrics


def letter_problems(truth: Expected, told: Published) -> list[str]:
    return [problem for problem in compare(rules_for(), truth, told, False) if problem.startswith("dead letters")]


def test_every_event_of_a_flood_is_counted_or_in_the_total_of_dead_letters() -> None:
    lines = flood(3)
    truth, told, metrics = replayed(lines)
    assert letter_problems(truth, told) == []
    counted = sum(m["count"] for m in metrics if m["kind"] == "traffic" and m["segment"] == "all")
    assert told.sums
    assert counted + len(told.letters) + sum(letter.count for letter in told.sums) == len(lines)


@pytest.mark.parametrize("way", ["more", "less", "lost", "twice"])
def test_the_verifier_finds_a_wrong_total(way: str) -> None:
    truth, told, _ = replayed(flood(4))
    match way:
        case "more":
            told.sums[0].count += 1
        case "less":
            told.sums[0].count -= 1
        case "lost":
            told.sums.pop()
        case "twice":
            told.sums.append(told.sums[0])
    assert letter_problems(truth, told)


def test_telemetry_counts_events_and_not_letters() -> None:
    lines = flood(5)
    worker = Worker(rules_for(), lines)
    worker.step(len(lines))
    worker.commit()
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)

    class Running:
        stage, client, owned = worker.stage, SimpleNamespace(restored=1.0), set(PARTS)

    telemetry.observe(Running())(Report())
    bad = sum(line in BAD for line in lines)
    by_reason = [registry.get_sample_value("stream_monitor_rejects_total", {"reason": reason}) or 0
                 for reason in ("blank", "not_json", "contract")]  # fmt: skip
    assert sum(by_reason) == bad
    single, _ = worker.decided()
    assert registry.get_sample_value("stream_monitor_rejects_summed_total") == bad - len(single)
