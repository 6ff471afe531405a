"""The composition root: settings to stages, stages to loops, loops to processes."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess

from stream_monitor.config.settings import ROLES_IN, Settings
from stream_monitor.dashboard.run import listener_of
from stream_monitor.dashboard.run import serve as serve_page
from stream_monitor.errors import BrokerError, SettingsError, StreamMonitorError
from stream_monitor.kafka.confluent import KafkaClient
from stream_monitor.kafka.loop import Loop, Report
from stream_monitor.kafka.mock_broker import MockBroker
from stream_monitor.kafka.skips import parse_skips
from stream_monitor.kafka.topics import create, ready
from stream_monitor.service.check import misplaced_keys, settings_problems
from stream_monitor.service.registry import STAGES, loop_of, ports_of, stages_of
from stream_monitor.service.reject_log import RejectLog
from stream_monitor.service.supervisor import (
    AGAIN,
    CRASHED,
    REFUSED,
    StopSignal,
    Worker,
    begin,
    end_with_parent,
    leave,
    stop_workers,
    supervise,
)
from stream_monitor.service.warm_up import warm_up
from stream_monitor.stages.statistics import DescribeStatistics
from stream_monitor.stages.topology import Topology
from stream_monitor.telemetry import log_output as logs
from stream_monitor.telemetry.http_server import serve
from stream_monitor.telemetry.liveness import Health
from stream_monitor.telemetry.metrics import Telemetry
from stream_monitor.telemetry.ports import address, listen

__all__ = ["Worker", "run", "run_stage", "start_page", "start_workers", "stop_workers"]

PAGE = "dashboard"
"""The name of the page's process."""

log = logging.getLogger(__name__)


def run_stage(
    settings: Settings,
    topology: Topology,
    role: str,
    worker: int,
    listener: socket.socket | None = None,
    supervised: bool = False,
) -> int:
    """Run one worker of one stage in this process, until SIGTERM or SIGINT; returns the exit code.

    0 after an orderly stop, 1 after a loud one. For a supervisor: `AGAIN` and `CRASHED` where another start may help.
    """
    logs.configure(settings.log, role, worker)
    faulthandler.register(signal.SIGUSR1)  # kill -USR1 prints the stacks of a worker that hangs
    stop = StopSignal()
    if supervised:
        end_with_parent()
    if role == "describe" and topology.rekey:
        settings = settings.behind_rekey()
    failure = partial(_failure, supervised)
    try:
        code = _work(settings, topology, role, worker, listener, stop, failure)
    except Exception as error:  # whatever the error is, the worker logs it and ends
        return failure(error)
    if code == 0:
        log.info("stopped", extra={"role": role, "worker": worker})
    return code


def _failure(supervised: bool, error: Exception) -> int:
    """Log why a worker ends; the exit code."""
    if isinstance(error, StreamMonitorError):
        log.error("%s", error)
        return AGAIN if supervised and isinstance(error, BrokerError) else REFUSED
    log.error("an error of our own ends this worker", exc_info=error)
    return CRASHED if supervised else REFUSED


def _work(
    settings: Settings,
    topology: Topology,
    role: str,
    worker: int,
    listener: socket.socket | None,
    stop: StopSignal,
    failure: Callable[[Exception], int],
) -> int:
    """Serve the endpoints first and join the group last. Every way out leaves the group; returns the exit code.

    The worker logs an error before it leaves the group: a broker that does not answer may end the process there.
    """
    health = Health(time.monotonic)
    if listener is not None:
        serve(settings.http, listener, health, role)
    if STAGES[role].compiles:  # judges too: a judge caches its compiled code on disk, and no event waits for a judge
        warm_up()
    if stop.is_set():
        return 0
    with closing(KafkaClient(settings, role)) as client:
        loop = loop_of(role, client, settings, topology, time.monotonic)
        loop.on_commit = with_warnings(loop, Telemetry().observe(loop), RejectLog(time.monotonic))
        health.follow(loop)
        tune_collector()
        log.info("running", extra={"pid": os.getpid(), "transactional_id": client.transactional_id})
        try:
            loop.run(stop.is_set)
        except Exception as error:
            return failure(error)
    return 0


def with_warnings(loop: Loop, listen: Callable[[Report], None], rejects: RejectLog) -> Callable[[Report], None]:
    """A listener for commits that also logs refused events, and once a problem that the stage has found."""
    reported: list[str] = []

    def also_warn(report: Report) -> None:
        listen(report)
        stats = loop.stage.stats()
        if isinstance(stats, DescribeStatistics) and not report.aborted:
            rejects.take(stats.refused)
        problem = stats.problem
        if problem is not None and not reported:
            reported.append(problem)
            log.warning("%s", problem)

    return also_warn


def tune_collector() -> None:
    """Run the garbage collector less often: hot objects have no cycles, and a pass visits all objects of a commit."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def start_workers(settings: Settings, topology: Topology, roles: Sequence[str], workers: int) -> list[Worker]:
    """Start processes, each of which serves its own port.

    A worker receives the settings, with their secrets, through a pipe: its command line does not contain them.
    """
    return _Command(settings, topology, roles, workers).start()


class _Command:
    """The workers of one command, and their ports. A worker that is started again keeps its port."""

    def __init__(
        self, settings: Settings, topology: Topology, roles: Sequence[str], workers: int, dashboard: bool = False
    ) -> None:
        self.settings, self.topology = settings, topology
        self._page = listener_of(settings) if dashboard else None
        self.names = [(role, number) for number in range(workers) for role in roles]
        self._ports: dict[tuple[str, int], socket.socket] = {}
        if settings.http.enabled:
            found = listen(settings.http, ports_of(self.names, topology.rekey))
            self._ports = dict(zip(self.names, found, strict=True))

    def run_here(self) -> int:
        """Run the only worker, in this process."""
        ((role, number),) = self.names
        self._tell()
        return run_stage(self.settings, self.topology, role, number, self._ports.get((role, number)))

    def start(self) -> list[Worker]:
        """Start all workers, each in a process of its own."""
        workers = [Worker(role, number, self._begin(role, number, self.topology)) for role, number in self.names]
        return workers if self._page is None else [*workers, start_page(self.settings, self._page)]

    def supervise(self) -> int:
        """Start all workers, and keep them running until a signal."""
        stop = StopSignal()
        self._tell()
        return supervise(self.start(), self._begin_again, stop.is_set)

    def _begin(self, role: str, number: int, topology: Topology) -> BaseProcess:
        listener = self._ports.get((role, number))
        return begin(f"{role}-{number}", _worker_main, self.settings, topology, role, number, listener)

    def _begin_again(self, worker: Worker) -> BaseProcess:
        """Start a worker again, without what a person accepted: that was for the start for which it was given."""
        if worker.role == PAGE and self._page is not None:
            return start_page(self.settings, self._page).process
        topology = replace(self.topology, accept_repartition=False, accept_new_topics=False)
        return self._begin(worker.role, worker.number, topology)

    def _tell(self) -> None:
        """Log where events go in, and where to look."""
        settings = self.settings
        log.info("send events to the topic %s on %s", settings.topic("predictions"), settings.kafka.bootstrap_servers)
        read = [role for role in ROLES_IN if role != "predictions"]
        log.info("also read: %s", ", ".join(map(settings.topic, read)))
        for (role, number), listener in self._ports.items():
            log.info("metrics of %s-%d at %s/metrics", role, number, address(settings.http, listener))
        if self._page is not None:
            log.info("the page: %s", address(settings.http, self._page))


def start_page(settings: Settings, listener: socket.socket) -> Worker:
    """Start the page in a process of its own. If it dies again and again, the workers go on without it."""
    return Worker(PAGE, 0, begin(PAGE, _page_main, settings, listener), vital=False)


def _page_main(settings: Settings, listener: socket.socket) -> None:
    logs.configure(settings.log, PAGE, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    end_with_parent()
    try:
        serve_page(settings, listener)
    except Exception as error:
        leave(_failure(True, error))
    leave(0)


def _worker_main(
    settings: Settings, topology: Topology, role: str, number: int, listener: socket.socket | None = None
) -> None:
    leave(run_stage(settings, topology, role, number, listener, supervised=True))


def run(
    settings: Settings,
    role: str | None,
    workers: int,
    embedded: bool = False,
    accept_repartition: bool = False,
    accept_new_topics: bool = False,
    skip: Sequence[str] = (),
    dashboard: bool = False,
) -> int:
    """Run a stage, or all (None), until a signal, or until a worker cannot continue.

    The command finds every problem of settings, ports and topics before any worker joins a group.
    """
    if wrong := settings_problems(settings):
        raise SettingsError("\n".join(wrong))
    logs.configure(settings.log, logs.COMMAND, 0)
    try:
        if embedded:
            with MockBroker() as broker:
                log.warning("an embedded broker, to try things out; it keeps little: %s", broker.bootstrap)
                settings = broker.reached_by(settings)
                return _run(settings, broker.topology(settings), role, workers, dashboard)
        skips = parse_skips(settings, skip)
        topology = _ready(settings, accept_repartition)
        topology = replace(topology, accept_new_topics=accept_new_topics, skips=skips)
        if misplaced := misplaced_keys(settings, topology.rekey):
            log.warning("%s", misplaced)
        return _run(settings, topology, role, workers, dashboard)
    except SettingsError:
        raise
    except StreamMonitorError as error:
        log.error("%s", error)
        return REFUSED


def _ready(settings: Settings, accept_repartition: bool) -> Topology:
    """Usable topics; creates missing ones."""
    if settings.topics.create and (created := create(settings)):
        log.info("topics made: %s", ", ".join(created))
    given = settings.model_copy(update={"topics": settings.topics.model_copy(update={"create": False})})
    return ready(given, accept_repartition)


def _run(settings: Settings, topology: Topology, role: str | None, workers: int, dashboard: bool) -> int:
    alone = STAGES[role] if role is not None else None
    if alone is not None and alone.only_with_rekey and not topology.rekey:
        raise SettingsError("there is nothing to rekey: set join.rekey if labels or feedback are not keyed by id")
    if alone is not None and not alone.only_with_rekey and topology.rekey:
        log.warning("labels come through the rekey stage here: it must run somewhere, too (run --role rekey)")
    roles = stages_of(topology.rekey) if role is None else (role,)
    command = _Command(settings, topology, roles, workers, dashboard)
    return command.run_here() if len(command.names) == 1 and not dashboard else command.supervise()
