"""Workers that can be broken, traffic that has everything in it, and the wait until the output is exactly right."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from stream_monitor.config.settings import Settings, parse
from stream_monitor.errors import BrokerError
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.service.registry import stages_of
from stream_monitor.stages.topology import Topology
from stream_monitor.verify.run import Report, verify
from tests.failures.worker import Fault, work
from tests.patience import PATIENCE_S

NO_FAULT = Fault()


def settings_for(bootstrap: str, **sections: Any) -> Settings:
    """An app of its own, with everything quick."""
    kafka = {"bootstrap_servers": bootstrap, "transaction_timeout": "4s"} | sections.pop("kafka", {})
    quick = {
        "app": f"f{uuid.uuid4().hex[:10]}",
        "kafka": kafka,
        "http": {"enabled": False},
        "topics": {"partitions": 4},
        "commit": {"interval": "200ms", "snapshot_interval": "1s"},
        "time": {"windows": ["10s"], "idle_after": "1s", "allowed_lateness": "5s"},
        "baseline": {"first": 500},
        "segments": [["country"]],
    }
    return parse(quick | sections)


FORKS = multiprocessing.get_context("forkserver")
"""A process that has imported the product, and has no client, is forked for each worker: a start costs a tenth."""
FORKS.set_forkserver_preload(["tests.failures.preloaded"])
_one_at_a_time = threading.RLock()
"""Held by who starts a process or asks for its exit code: of two threads that ask at once only one is told."""


@dataclass
class Worker:
    """A process of one stage."""

    role: str
    process: ForkServerProcess
    log: Path

    def exit_code(self) -> int | None:
        with _one_at_a_time:
            return self.process.exitcode

    def running(self) -> bool:
        return self.exit_code() is None

    def signal(self, number: int) -> None:
        if self.running() and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, once it has come to an end by itself."""
        deadline = time.monotonic() + timeout_s
        while (code := self.exit_code()) is None:
            assert time.monotonic() < deadline, f"it goes on after {timeout_s} s: {self.said()[-1_500:]}"
            time.sleep(0.02)
        return code

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Fleet:
    """The workers of an app on this machine."""

    rules: Settings
    topology: Topology
    folder: Path
    workers: list[Worker] = field(default_factory=list)
    started: int = 0

    def start(
        self,
        role: str,
        fault: Fault = NO_FAULT,
        worker_id: str | None = None,
        accept: bool = True,
        new_topics: bool = False,
        **kafka: Any,
    ) -> Worker:
        """Start one; None lets it take the first free slot of this machine."""
        topology = replace(self.topology, accept_new_topics=new_topics)
        topology = topology if accept else replace(topology, accept_repartition=False)
        rules = self.rules
        if worker_id is not None or kafka:
            changed = rules.kafka.model_copy(update={"worker_id": worker_id} | kafka)
            rules = rules.model_copy(update={"kafka": changed})
        self.started += 1
        log = self.folder / f"{role}-{self.started}.log"
        log.touch()
        arguments = role, rules.model_dump_json(), json.dumps(asdict(topology)), fault.dumps(), str(log)
        process = FORKS.Process(target=work, args=arguments, daemon=True)
        with _one_at_a_time:
            process.start()
        worker = Worker(role, process, log)
        self.workers.append(worker)
        return worker

    def running(self, role: str) -> list[Worker]:
        return [worker for worker in self.workers if worker.role == role and worker.running()]

    def heal(self) -> None:
        """What a supervisor does: at least one worker of each stage runs."""
        for role in stages_of(self.topology.rekey):
            if not self.running(role):
                self.start(role)

    @contextmanager
    def supervised(self) -> Iterator[None]:
        """Heal again and again meanwhile."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                self.heal()

        watcher = threading.Thread(target=watch)
        self.heal()
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def stop(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGKILL)
            worker.ended()

    def stacks(self) -> str:
        """What the workers said, and where each of them is now."""
        for worker in self.workers:
            worker.signal(signal.SIGUSR1)
        time.sleep(1)  # for what they write
        return self.said()

    def said(self) -> str:
        return "\n".join(f"--- {worker.log.name}\n{worker.said()[-1_500:]}" for worker in self.workers[-8:])


@contextmanager
def fleet_of(rules: Settings, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(rules, ready(rules), folder)
    try:
        yield fleet
    finally:
        fleet.stop()


class Traffic:
    """Seeded events of all kinds: duplicates, late ones, dead letters; labels early, corrected, contradicting."""

    def __init__(self, rules: Settings, seed: int) -> None:
        self.feed, self.rng, self.sent = EventWriter(rules), random.Random(seed), 0
        self._next = 0

    def send(self, count: int) -> None:
        """That many predictions and what belongs to them; returns when all are with the broker."""
        for _ in range(count):
            self._one(f"e{self._next}")
            self._next += 1
        self.feed.flush()

    def _send(self, role: str, key: str, event: Any) -> None:
        self.feed.send(role, key, event if isinstance(event, bytes) else json.dumps(event).encode())
        self.sent += 1

    def _one(self, key: str) -> None:
        rng, now = self.rng, int(time.time() * 1000)
        ts = now - rng.choice([0, 0, 0, 0, rng.randrange(4_000), 60_000])
        country = rng.choice(["DE", "FR"])
        model = rng.choice(["fraud", "churn", "price"])
        answer = rng.gauss(10, 2) if model == "price" else rng.random() < 0.3
        event = {
            "id": key, "model": model, "ts": ts, "features": {"amount": rng.gauss(50, 9), "country": country},
            "prediction": answer, "latency_ms": rng.expovariate(0.1),
        }  # fmt: skip
        label = {"id": key, "ts": ts, "label": rng.gauss(10, 2) if model == "price" else rng.random() < 0.3}
        if rng.random() < 0.05:
            self._send("labels", key, label)
        if rng.random() < 0.02:
            bad = [b"{", b"", b'{"id":"x"}', json.dumps(event | {"ts": now + 10**9}).encode()]
            self._send("predictions", key, rng.choice(bad))
        self._send("predictions", key, event)
        if rng.random() < 0.03:
            self._send("predictions", key, event | {"ts": ts + 5})
        for chance, change in (
            (0.5, {}),
            (0.05, {"labeler": "a"}),
            (0.05, {"labeler": "b", "label": "true"}),
            (0.05, {"label": 3.5 if model == "price" else "false"}),
        ):
            if rng.random() < chance:
                self._send("labels", key, label | change)
        if rng.random() < 0.1:
            self._send("feedback", key, {"id": key, "ts": ts, "signals": {"click": 1, "redo": rng.randrange(2)}})


def settle(fleet: Fleet, traffic: Traffic) -> Report:
    """Wait until all that was sent is counted and open windows are shown; then the output must be exactly right.

    What is missing may still come, so this asks again and again; what is doubled or wrong never heals.
    """
    deadline = time.monotonic() + PATIENCE_S
    told = "nothing"
    with fleet.supervised():
        while time.monotonic() < deadline:
            try:
                report = verify(fleet.rules, settled=True)
            except BrokerError as error:
                told = str(error)
                continue
            sent = sum(report.events.values())
            told = f"{sent} of {traffic.sent} events counted, {report.unjudged} not judged; {report.problems[:5]}"
            if sent == traffic.sent and not report.unread and not report.unjudged and not report.problems:
                return report
            time.sleep(0.2)  # the workers need the processor, too
    raise AssertionError(f"{told}\n{fleet.stacks()}")
