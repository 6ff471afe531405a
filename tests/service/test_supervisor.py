"""Workers that die are started again, within bounds; those that say that they cannot go on end all."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from itertools import count
from multiprocessing.process import BaseProcess

import pytest

from stream_monitor.service.supervisor import (
    AGAIN,
    CRASHED,
    MOST_DEATHS,
    PAUSE_S,
    REFUSED,
    STEADY_S,
    Worker,
    begin,
    supervise,
)


def ended(code: int) -> Worker:
    """A worker whose process has ended so."""
    process = begin("judge-1", os._exit, code)
    process.join()
    return Worker("judge", 1, process, since=0.0)


class Clock:
    """Every look at it is a second later."""

    def __init__(self) -> None:
        self._seconds = count()

    def __call__(self) -> float:
        return float(next(self._seconds))


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.INFO, "stream_monitor.service.supervisor")
    yield caplog


def test_a_worker_that_is_killed_is_started_again_and_that_is_said(told: pytest.LogCaptureFixture) -> None:
    process = begin("describe-0", time.sleep, 600)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    worker, again = Worker("describe", 0, process, since=0.0), list[str]()

    def start(dead: Worker) -> BaseProcess:
        again.append(dead.name)
        return begin("describe-0", time.sleep, 600)

    code = supervise([worker], start, lambda: bool(again), Clock())
    assert (again, code) == (["describe-0"], 0), "who is asked to stop while it starts leaves nothing undone"
    (record,) = told.records
    assert (
        f"worker describe-0 (process {process.pid}) was killed by SIGKILL; it is started again" in record.getMessage()
    )


@pytest.mark.parametrize("code", [AGAIN, CRASHED, 0])
def test_a_worker_that_dies_again_and_again_ends_all_after_pauses_that_double(
    told: pytest.LogCaptureFixture, code: int
) -> None:
    worker, pauses = ended(code), list[int]()

    def start(dead: Worker) -> BaseProcess:
        assert dead.due is not None
        pauses.append(dead.deaths)
        return ended(code).process

    other = Worker("describe", 0, begin("describe-0", time.sleep, 600), since=0.0)
    assert supervise([other, worker], start, lambda: False, Clock()) == REFUSED
    assert pauses == list(range(1, MOST_DEATHS + 1))
    said = [record.getMessage() for record in told.records]
    waits = [f"again in {PAUSE_S * 2**at:.0f} s" for at in range(MOST_DEATHS)]
    assert all(wait in line for wait, line in zip(waits, said, strict=False))
    assert "all workers stop" in said[-1] and not other.process.is_alive()


def test_a_worker_that_lived_long_begins_a_new_row() -> None:
    worker, seconds, starts = ended(CRASHED), count(0, int(STEADY_S) + 1), count()
    supervise([worker], lambda dead: ended(CRASHED).process, lambda: next(starts) > 40, lambda: float(next(seconds)))
    assert worker.deaths == 1


@pytest.mark.parametrize(("since", "given_up"), [(0.0, True), (-STEADY_S, False)])
def test_a_worker_that_is_not_vital_is_given_up_after_a_row_of_deaths_only(since: float, given_up: bool) -> None:
    page, looks = ended(CRASHED), count()
    page.vital, page.deaths, page.since = False, MOST_DEATHS, since
    supervise([page], lambda dead: dead.process, lambda: next(looks) > 2, Clock())
    assert page.given_up == given_up


def test_a_worker_that_cannot_go_on_ends_all_and_is_not_started_again(told: pytest.LogCaptureFixture) -> None:
    started: list[Worker] = []

    def start(dead: Worker) -> BaseProcess:
        started.append(dead)
        return dead.process

    assert supervise([ended(REFUSED)], start, lambda: False, Clock()) == REFUSED
    assert not started and "it cannot go on, and has said why" in told.records[0].getMessage()
