"""One stream by a replay, and by a cluster whose schedule is a seed's: what `test_promise` holds against each other."""

from __future__ import annotations

import json
import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.settings import ROLES_IN, ROLES_INTERNAL, ROLES_OPTIONAL, ROLES_OUT, Settings
from stream_monitor.errors import BrokerError
from stream_monitor.file_replay import Replay
from stream_monitor.kafka.in_memory import MemoryBroker, MemoryClient
from stream_monitor.kafka.interface import Aborted, Batch
from stream_monitor.kafka.loop import Loop
from stream_monitor.profiles.records import PinRecord, ResetRecord, RolloutRecord, write_record
from stream_monitor.service.registry import loop_of
from stream_monitor.stages.contract import Output, PartitionStatus
from stream_monitor.stages.topology import Topology, partition_of
from tests.streams import Event

ROUNDS = 60
"""In which a cluster may read what is there."""
Result = tuple[dict[tuple[str, ...], Any], dict[tuple[str, str, int], Any]]


def rounded(value: Any) -> Any:
    """Floats to 9 significant digits, as the promise says."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def result_of(metrics: list[bytes], alerts: list[bytes]) -> Result:
    """Last metrics record of each key, and alerts by (id, status, revision), each of which must be unique."""
    last: dict[tuple[str, ...], Any] = {}
    for raw in metrics:
        metric = json.loads(raw)
        key = tuple(str(metric[k]) for k in ("model", "version", "segment", "window_start", "window_end", "kind"))
        if key in last and last[key]["final"] and last[key]["revision"] >= metric["revision"]:
            raise AssertionError(f"a final record came again: {key}")
        last[key] = rounded(metric)
    found: dict[tuple[str, str, int], Any] = {}
    for raw in alerts:
        alert = json.loads(raw)
        key3 = alert["id"], alert["status"], alert["revision"]
        assert key3 not in found, f"published twice: {key3}"
        found[key3] = rounded(alert)
    return last, found


def controls(pinned: Sequence[PinnedBaseline], resets: Sequence[ResetRecord]) -> Iterator[PinRecord | ResetRecord]:
    """What people tell the judge, as records."""
    for baseline in pinned:
        yield from baseline.records()
    yield from resets


def by_replay(
    events: list[Event],
    rules: Settings,
    pinned: Sequence[PinnedBaseline] = (),
    resets: Sequence[ResetRecord] = (),
) -> Result:
    """A replay has no schedule, so it runs once for all the schedules that are held against it."""
    told = [write_record(record) for record in controls(pinned, resets)]
    key = rules.model_dump_json(), tuple(events), tuple(told)
    if key not in _replayed:
        _replayed[key] = _replay(events, rules, pinned, resets)
    return _replayed[key]


_replayed: dict[Any, Result] = {}


def _replay(
    events: list[Event], rules: Settings, pinned: Sequence[PinnedBaseline], resets: Sequence[ResetRecord]
) -> Result:
    out: dict[str, list[bytes]] = defaultdict(list)

    def publish(output: Output) -> None:
        out[output.role].append(output.value)

    run = Replay(rules, publish, pinned)
    for reset in resets:
        run.reset(reset)
    run.feed((event.role, event.raw) for event in events)
    run.finish()
    return result_of(out["metrics"], out["alerts"])


def die(loop: Loop) -> None:
    """The worker of a loop is killed."""
    assert isinstance(loop.client, MemoryClient)
    loop.client.die()


class EndingLoop(Loop):
    """A loop over topics that are finite once `ending`: at the end of one means that it ended."""

    ending = False

    def _status(self, now: float) -> dict[tuple[str, int], PartitionStatus]:
        return {p: s._replace(ended=s.at_end and self.ending) for p, s in super()._status(now).items()}


class Hasty(MemoryClient):
    """Reads no labels and no feedback while it may read predictions, and little of anything at a time."""

    def consume(self, limit: int, timeout_s: float) -> list[Batch]:
        dear = {part for part in self._at if part[0] in ("labels", "feedback")}
        predictions = {part for part in self._at if part[0] == "predictions"} - self._paused
        left = not EndingLoop.ending and any(self.ends([part])[part] > self._at[part] for part in predictions)
        paused, self._paused = self._paused, self._paused | dear if left else self._paused
        try:
            return super().consume(limit if EndingLoop.ending else 100, timeout_s)
        finally:
            self._paused = paused


class Cluster:
    """Both stages over an in-process broker, stepped by a seeded scheduler that may crash and rebalance."""

    def __init__(
        self, rules: Settings, partitions: int, seed: int, crashes: float, client: type[MemoryClient] = MemoryClient
    ) -> None:
        self.client_type = client
        EndingLoop.ending = False
        self.rng, self.rules, self.crashes = random.Random(seed), rules, crashes
        self.now = 1_800_000_000_000
        counts = dict.fromkeys((*ROLES_IN, *ROLES_INTERNAL, *ROLES_OUT, *ROLES_OPTIONAL), partitions)
        self.broker = MemoryBroker(counts, lambda: self.now)
        self.topology = Topology(partitions, partitions, partitions)
        self.loops: dict[str, list[Loop]] = {"describe": [], "judge": []}

    def crash(self, step: str) -> None:
        if self.rng.random() < self.crashes:
            raise Aborted(step) if step != "committed" and self.rng.random() < 0.5 else BrokerError(f"crash: {step}")

    def start(self, role: str) -> None:
        client = self.client_type(self.broker, role, self.crash)
        loop = loop_of(role, client, self.rules, self.topology, lambda: self.now / 1000)
        if role == "describe":
            loop.__class__ = EndingLoop
        self.loops[role].append(loop)

    def tick(self, role: str, at: int) -> None:
        loop = self.loops[role][at]
        try:
            loop.tick(0)
            if loop.owned and self.rng.random() < 0.3:
                loop.commit()
            loop._raise_failure()
        except Aborted:
            raise
        except BrokerError:
            self.loops[role].remove(loop)
            die(loop)
            self.start(role)

    def drain(self) -> None:
        """No more crashes: run until nothing changes."""
        self.crashes, EndingLoop.ending = 0.0, True
        quiet = 0
        while quiet < 4:
            before = sum(map(len, self.broker.values("metrics"))), self.committed()
            for role in ("describe", "judge"):
                for loop in list(self.loops[role]):
                    for _ in range(3):
                        loop.tick(0)
                    if loop.owned:
                        loop.commit()
            self.now += 1
            quiet = quiet + 1 if before == (sum(map(len, self.broker.values("metrics"))), self.committed()) else 0
        EndingLoop.ending = False

    def committed(self) -> dict[Any, int]:
        offsets = self.broker.groups["judge"].offsets
        return {p: len([v for v in self.broker.values("alerts")]) for p in offsets} | {
            p: len(self.broker.values("baselines")) for p in offsets
        }


def by_cluster(
    events: list[Event],
    rules: Settings,
    shape: tuple[int, int],
    seed: int,
    crashes: float,
    pinned: Sequence[PinnedBaseline] = (),
    resets: Sequence[ResetRecord] = (),
    at_once: bool = False,
) -> Result:
    """With `at_once` all events are in their topics before a worker starts, which then reads predictions first."""
    broker = run_cluster(events, rules, shape, seed, crashes, [*controls(pinned, resets)], at_once).broker
    return result_of([v for _, v in broker.values("metrics")], [v for _, v in broker.values("alerts")])


def run_cluster(
    events: list[Event],
    rules: Settings,
    shape: tuple[int, int],
    seed: int,
    crashes: float,
    records: Sequence[PinRecord | ResetRecord | RolloutRecord] = (),
    at_once: bool = False,
) -> Cluster:
    """A cluster that has read all events; see `by_cluster`. `records` lie on `profiles` before it starts."""
    partitions, workers = shape
    cluster = Cluster(rules, partitions, seed, crashes, Hasty if at_once else MemoryClient)
    rng = cluster.rng
    for record in records:
        cluster.broker.append("profiles", write_record(record), number=partition_of(record.model, partitions))
    for role in ("describe", "judge") * workers:
        cluster.start(role)
    queues: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in events:
        queues[event.role, zlib.crc32(event.id.encode()) % partitions].append(event)
    rounds = ROUNDS if at_once else 0
    while any(queues.values()) or rounds > 0:
        rounds -= 1
        for (role, number), queue in queues.items():
            count = len(queue) if at_once else rng.randrange(0, 40)
            for event in queue[:count]:
                cluster.broker.append(role, event.raw, event.id.encode(), number)
            del queue[:count]
        cluster.now += rng.randrange(0, 400)
        for role in ("describe", "judge"):
            for _ in range(workers):
                cluster.tick(role, rng.randrange(len(cluster.loops[role])))
    cluster.drain()
    return cluster
