"""The composition root: settings to stages, stages to loops, loops to processes."""

from __future__ import annotations

import faulthandler
import gc
import logging
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import FrameType

from stream_monitor.describe.knowledge import Knowledge
from stream_monitor.describe.rekey import TARGET, Rekey
from stream_monitor.describe.stage import Describe, Layout
from stream_monitor.errors import SettingsError, StreamMonitorError
from stream_monitor.judge.stage import Judge
from stream_monitor.kafka.client import Client
from stream_monitor.kafka.confluent import KafkaClient
from stream_monitor.kafka.embedded import EmbeddedBroker
from stream_monitor.kafka.loop import Loop, Report
from stream_monitor.kafka.skips import parse_skips
from stream_monitor.kafka.topics import ready
from stream_monitor.settings import ROLES_IN, Settings
from stream_monitor.telemetry import logs
from stream_monitor.telemetry.metrics import Telemetry
from stream_monitor.telemetry.server import problems, serve
from stream_monitor.warm import warm_up

log = logging.getLogger(__name__)

STAGES = ("describe", "judge")
ROLES = ("describe", "judge", "rekey")
"""All stages, in the order of their HTTP ports."""


def describe_loop(client: Client, settings: Settings, layout: Layout, clock: Callable[[], float]) -> Loop:
    """The describe stage on a client."""
    knowledge = Knowledge()
    loop = Loop(client, Describe(settings, layout, knowledge), ROLES_IN, settings, clock, layout.consent)
    loop.on_table = knowledge.learn
    return loop


def judge_loop(client: Client, settings: Settings, layout: Layout, clock: Callable[[], float]) -> Loop:
    """The judge stage on a client."""
    return Loop(client, Judge(settings, layout.profiles, layout.health), ["profiles"], settings, clock, layout.consent)


def rekey_loop(client: Client, settings: Settings, layout: Layout, clock: Callable[[], float]) -> Loop:
    """The rekey stage on a client."""
    return Loop(client, Rekey(), list(TARGET), settings, clock, layout.consent)


LOOPS = {"describe": describe_loop, "judge": judge_loop, "rekey": rekey_loop}


def stages_of(layout: Layout) -> tuple[str, ...]:
    """The stages that an app with these topics consists of."""
    return ("rekey", *STAGES) if layout.rekey else STAGES


def run_stage(settings: Settings, layout: Layout, role: str, worker: int) -> int:
    """One worker of one stage in this process, until SIGTERM or SIGINT; returns the exit code."""
    logs.configure(role, worker)
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 shows where a worker hangs
    stop = StopSignal()
    if role == "describe" and layout.rekey:
        settings = settings.behind_rekey()
    try:
        if role == "describe":  # for judges too: what it compiles is kept on disk, and of a judge no event waits
            warm_up()
        client = KafkaClient(settings, role)
        loop = LOOPS[role](client, settings, layout, time.monotonic)
        telemetry = Telemetry(role)
        loop.on_commit = tell_once(loop, telemetry.observe(loop))
        if settings.http.enabled:
            serve(settings.http, _offset(role, worker, layout), loop)
        tune_collector()
        log.info("running", extra={"role": role, "worker": worker, "transactional_id": client.transactional_id})
        loop.run(stop.is_set)
    except StreamMonitorError as error:
        log.error("%s", error)
        return 1
    log.info("stopped", extra={"role": role, "worker": worker})
    return 0


def tell_once(loop: Loop, listen: Callable[[Report], None]) -> Callable[[Report], None]:
    """A listener for commits that also warns, once, of a problem which the stage has seen."""
    told: list[str] = []

    def also_warn(report: Report) -> None:
        listen(report)
        problem = loop.stage.vitals().get("problem")
        if problem is not None and not told:
            told.append(problem)
            log.warning("%s", problem)

    return also_warn


def _offset(role: str, worker: int, layout: Layout) -> int:
    """Each process of one command serves its own port."""
    return len(stages_of(layout)) * worker + ROLES.index(role)


def tune_collector() -> None:
    """Fewer, later passes of the garbage collector: hot objects have no cycles, and a pass walks a whole commit."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


class StopSignal:
    """Set by the first SIGTERM or SIGINT; one that comes a second later exits at once.

    Ctrl-C reaches a worker twice, from the terminal and from its parent: that is one wish, not two.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._since is not None and now - self._since > 1:
            sys.exit(128 + number)
        self._since = self._since or now

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._since is not None


@dataclass(slots=True)
class Worker:
    """A process of one stage."""

    role: str
    number: int
    process: multiprocessing.process.BaseProcess


def start_workers(settings: Settings, layout: Layout, roles: Sequence[str], workers: int) -> list[Worker]:
    """Start processes (spawned: librdkafka does not survive a fork).

    The settings, and the secrets among them, go to a worker through a pipe: its command line does not show them.
    """
    context = multiprocessing.get_context("spawn")
    started = []
    for number in range(workers):
        for role in roles:
            process = context.Process(
                target=_worker_main, args=(settings, layout, role, number), name=f"{role}-{number}"
            )
            process.start()
            started.append(Worker(role, number, process))
    return started


def _worker_main(settings: Settings, layout: Layout, role: str, number: int) -> None:
    sys.exit(run_stage(settings, layout, role, number))


def run(
    settings: Settings,
    role: str | None,
    workers: int,
    embedded: bool = False,
    accept_repartition: bool = False,
    accept_new_topics: bool = False,
    skip: Sequence[str] = (),
) -> int:
    """Run a stage, or all (None), until a signal or a worker's failure; the exit code is the worst of the workers'.

    SettingsError before anything starts when the endpoints would be open to other machines without being guarded.
    """
    if wrong := problems(settings.http):
        raise SettingsError("\n".join(wrong))
    if embedded:
        with EmbeddedBroker() as broker:
            print(f"embedded broker for trying things out: bootstrap servers {broker.bootstrap}", file=sys.stderr)
            settings = broker.reached_by(settings)
            return _supervise(settings, broker.layout(settings), STAGES if role is None else (role,), workers)
    skips = parse_skips(settings, skip)
    layout = replace(ready(settings, accept_repartition), accept_new_topics=accept_new_topics, skips=skips)
    if role == "rekey" and not layout.rekey:
        raise SettingsError("there is nothing to rekey: set join.rekey if labels or feedback are not keyed by id")
    if role in STAGES and layout.rekey:
        log.warning("labels come through the rekey stage here: it must run somewhere, too (run --role rekey)")
    if role is not None and workers == 1:
        return run_stage(settings, layout, role, 0)
    return _supervise(settings, layout, stages_of(layout) if role is None else (role,), workers)


def _supervise(settings: Settings, layout: Layout, roles: Sequence[str], workers: int) -> int:
    started = start_workers(settings, layout, roles, workers)
    stop = StopSignal()
    try:
        while not stop.is_set() and all(w.process.is_alive() for w in started):
            started[0].process.join(0.2)
    finally:
        codes = stop_workers(started)
    return max(abs(code) for code in codes)


def stop_workers(started: Sequence[Worker], timeout_s: float = 30.0) -> list[int]:
    """Ask all to stop, wait, kill what does not; their exit codes."""
    for worker in started:
        worker.process.terminate()
    for worker in started:
        worker.process.join(timeout_s)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
    return [worker.process.exitcode or 0 for worker in started]
