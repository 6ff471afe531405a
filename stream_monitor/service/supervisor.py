"""The processes of one command: the supervisor starts, watches, restarts and stops them together.

The supervisor restarts a worker that dies (a signal, a crash, a broker that refused it) after a pause that doubles. A
worker that reports that it cannot continue ends the command: another start would end alike, or a person must decide.
What a person has decided (`--accept-…`) holds for one start: a restarted worker has nothing accepted.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import NoReturn

log = logging.getLogger(__name__)

REFUSED = 1
"""The exit code of a worker that cannot continue and has logged the reason."""
CRASHED = 70
"""The exit code of a worker with an internal error: a traceback is in its log."""
AGAIN = 75
"""The exit code of a worker that Kafka refused. The next start may succeed; it takes the outcome from the offsets."""
MOST_DEATHS = 5
"""So many deaths in a row are no accident; the next one ends all workers."""
STEADY_S = 300.0
"""A worker that has lived this long begins a new row."""
PAUSE_S = 1.0
"""The pause before a worker is restarted; it doubles with each death of a row."""
LOOK_S = 0.2
HURRY_S = 8.0
"""A worker that was asked twice to stop leaves its group and ends within this time."""


class StopSignal:
    """The first SIGTERM or SIGINT sets it; one that comes a second later exits at once.

    Ctrl-C reaches a worker twice, from the terminal and from its parent. Both signals are one request.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # `begin` blocks it while a worker starts

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
    process: BaseProcess
    since: float = field(default_factory=time.monotonic)
    deaths: int = 0
    """Deaths in a row."""
    due: float | None = None
    """When the supervisor restarts it; None while it runs."""
    vital: bool = True
    """Whether all end when it cannot go on."""
    given_up: bool = False
    """It is not vital, and is not started again."""

    @property
    def name(self) -> str:
        """The name of the worker in logs and messages."""
        return f"{self.role}-{self.number}"


def begin(name: str, target: Callable[..., None], *args: object) -> BaseProcess:
    """Start a process (spawned: librdkafka does not survive a fork). Its arguments go through a pipe.

    Until the process handles signals itself, Ctrl-C reaches it only through its parent.
    """
    process = multiprocessing.get_context("spawn").Process(target=target, args=args, name=name)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process


def leave(code: int) -> NoReturn:
    """End this process now. All is committed, and an orderly exit of the interpreter walks through a big state."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def end_with_parent() -> None:
    """Stop in order when the supervisor is gone: no other process would restart or stop this one."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        log.error("the command that has started this worker is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def supervise(
    workers: Sequence[Worker],
    start: Callable[[Worker], BaseProcess],
    stopping: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Watch workers until `stopping`, or until one cannot continue; then stop all. Returns the command's exit code."""
    refused = False
    try:
        while not stopping() and not refused:
            wait([worker.process.sentinel for worker in workers if worker.due is None and not worker.given_up], LOOK_S)
            for worker in workers:
                if worker.given_up:
                    continue
                if worker.due is None and not worker.process.is_alive() and not stopping():
                    refused |= not _bury(worker, clock())
                elif worker.due is not None and clock() >= worker.due:
                    worker.process, worker.since, worker.due = start(worker), clock(), None
    finally:
        codes = stop_workers(workers)
    return REFUSED if refused else max(codes)


def _bury(worker: Worker, now: float) -> bool:
    """Log how a worker ended and what follows; returns whether to restart it."""
    code = worker.process.exitcode or 0
    extra = {"child": worker.name, "child_pid": worker.process.pid, "exit_code": code}
    who = f"worker {worker.name} (process {worker.process.pid}) {_told(code)}"
    deaths = 1 if now - worker.since >= STEADY_S else worker.deaths + 1
    if not worker.vital and (code == REFUSED or deaths > MOST_DEATHS):
        worker.given_up = True
        log.error("%s: it is not started again; the workers go on without it", who, extra=extra)
        return True
    if code == REFUSED:
        log.error("%s: it cannot go on, and has said why; all workers stop", who, extra=extra)
        return False
    worker.deaths = deaths
    if worker.deaths > MOST_DEATHS:
        log.error("%s, for the %d. time in a row: all workers stop", who, worker.deaths, extra=extra)
        return False
    pause = PAUSE_S * 2 ** (worker.deaths - 1)
    worker.due = now + pause
    log.warning(
        "%s; it is started again in %.0f s (start %d of %d)", who, pause, worker.deaths, MOST_DEATHS, extra=extra
    )
    return True


def _told(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def stop_workers(workers: Sequence[Worker], timeout_s: float = 30.0) -> list[int]:
    """Ask all to stop, wait, and kill those that do not. Returns their exit codes, a signal's as shells give it."""
    try:
        _ask(workers, timeout_s)
    except SystemExit:  # asked a second time: then ask the workers a second time, too
        _ask(workers, HURRY_S)
        raise
    return [_code(worker) for worker in workers]


def _ask(workers: Sequence[Worker], timeout_s: float) -> None:
    """Ask all workers to stop, and kill those that take longer."""
    for worker in workers:
        worker.process.terminate()
    deadline = time.monotonic() + timeout_s
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            log.error("worker %s did not stop within %.0f s: it is killed", worker.name, timeout_s)
            worker.process.kill()
            worker.process.join()


def _code(worker: Worker) -> int:
    """The exit code; 0 for a worker that waits for a restart, or was stopped before it handled signals."""
    code = worker.process.exitcode or 0
    if worker.given_up or worker.due is not None or code == -signal.SIGTERM:
        return 0
    return 128 - code if code < 0 else code
