"""The whole evaluation, section by section, on several processes."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from stream_monitor.errors import StreamMonitorError
from stream_monitor.evaluate import protocol
from stream_monitor.evaluate.files import read
from stream_monitor.evaluate.practice import practice
from stream_monitor.evaluate.protocol import QUICK, Effort, Row, Task
from stream_monitor.evaluate.rollouts import rollouts

SECTIONS: dict[str, Callable[[Effort, int], list[Task]]] = {
    "null": protocol.null,
    "delay": protocol.delay,
    "labelled": protocol.labelled,
    "windows": protocol.windows,
    "practice": lambda effort, seed: list(practice(effort.practice, seed)),
    "rollouts": lambda effort, seed: rollouts(effort.rollouts, seed),
}
ON_DEMAND = ("practice", "rollouts")
"""Sections that are measured only where they are named: whole streams through both stages, and verdicts about a
candidate, which nothing of the product asks for yet."""
Progress = Callable[[int, int], None]
"""Hears of tasks that are done, and of all."""


class Plan(NamedTuple):
    """What is to be measured; of a file of the user's own just that."""

    quick: bool = False
    seeds: int | None = None
    only: tuple[str, ...] = ()
    own: Path | None = None
    seed: int = 1

    def sections(self) -> dict[str, list[Task]]:
        """Tasks by section. FormatError when the file cannot be read."""
        effort = QUICK if self.quick else Effort()
        if self.seeds is not None:
            effort = replace(effort, seeds=self.seeds)
        if self.own is not None:
            return {"labelled": protocol.labelled(effort, self.seed, read(self.own))}
        wanted = self.only or [name for name in SECTIONS if name not in ON_DEMAND]
        return {name: make(effort, self.seed) for name, make in SECTIONS.items() if name in wanted}


def run(plan: Plan, jobs: int = 1, progress: Progress = lambda done, total: None) -> Iterator[tuple[str, list[Row]]]:
    """Sections with their rows, in order, each as soon as it and those before it are done."""
    sections, done = plan.sections(), 0
    total = sum(map(len, sections.values()))

    def one_more(_: object) -> None:
        nonlocal done
        done += 1
        progress(done, total)

    progress(0, total)
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _prepare)
    waiting: dict[str, list[Future[list[Row]]]] = {name: [] for name in sections}
    try:
        for name, tasks in sections.items():
            waiting[name] += map(pool.submit, tasks)
        for future in itertools.chain(*waiting.values()):
            future.add_done_callback(one_more)
        for name, futures in waiting.items():
            yield name, [row for future in futures for row in future.result()]
    except BrokenProcessPool as error:
        raise StreamMonitorError(
            "a process of the evaluation was killed: if memory ran short, ask for fewer by --jobs"
        ) from error
    finally:  # also of a section that failed, or is not asked for any more: what has not begun does not begin
        for future in itertools.chain(*waiting.values()):
            future.cancel()
        pool.shutdown(wait=False, cancel_futures=True)


def _prepare() -> None:
    """A process ends with the terminal's Ctrl-C, without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
