"""The whole evaluation, section by section."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from stream_monitor.evaluate import protocol
from stream_monitor.evaluate.files import read
from stream_monitor.evaluate.protocol import QUICK, Effort, Row

SECTIONS: dict[str, Callable[[Effort, int], Iterator[Row]]] = {
    "null": protocol.null_and_seasons,
    "delay": protocol.delay,
    "labelled": protocol.labelled,
    "windows": protocol.windows,
}


def evaluate(
    quick: bool, seeds: int | None, only: list[str], own: Path | None, seed: int = 1
) -> Iterator[tuple[str, list[Row]]]:
    """Sections with their rows, as they are done; with a file of the user's own just that one."""
    effort = QUICK if quick else Effort()
    if seeds is not None:
        effort = replace(effort, seeds=seeds)
    if own is not None:
        yield "labelled", list(protocol.labelled(effort, seed, read(own)))
        return
    for name, section in SECTIONS.items():
        if not only or name in only:
            yield name, list(section(effort, seed))
