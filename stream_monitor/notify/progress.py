"""What a receiver commits beside an offset, so that a restart knows what is open and what was not sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from stream_monitor.errors import FormatError

FORMAT = 1
MOST_RUNS = 100
"""Runs of records that are not sent; above it neighbours become one, and a restart may send what lies between again."""


class Progress(NamedTuple):
    """How far a receiver is in a partition."""

    offset: int
    """Next to read."""
    low: int
    """The lowest offset of an incident that is open, or of a record that is not sent."""
    unsent: tuple[tuple[int, int], ...] = ()
    """Runs (first, last) of records before `offset` whose messages are not sent."""

    def is_unsent(self, offset: int) -> bool:
        """Whether the message about a record is still to be sent."""
        return offset >= self.offset or any(first <= offset <= last for first, last in self.unsent)

    def metadata(self) -> str:
        """The text that is committed beside the offset."""
        return msgspec.json.encode({"format": FORMAT, "low": self.low, "unsent": self.unsent}).decode()


class _Committed(msgspec.Struct):
    format: int
    low: int
    unsent: list[tuple[int, int]] = []


def read_progress(offset: int, metadata: str) -> Progress:
    """The progress that was committed; an offset without metadata, as a tool sets it, knows of nothing before it.

    Raises:
        FormatError: a newer version wrote it.
    """
    if not metadata:
        return Progress(offset, offset)
    try:
        read = msgspec.json.decode(metadata, type=_Committed)
    except msgspec.MsgspecError as error:
        raise FormatError(f"the offset of a receiver has metadata that is none of ours: {error}") from None
    if read.format > FORMAT:
        raise FormatError(f"the offset of a receiver has the format {read.format} of a newer version: upgrade first")
    return Progress(offset, min(read.low, offset), tuple((first, last) for first, last in read.unsent))


def runs_of(worthy: Sequence[int], unsent: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Runs of unsent records, where `worthy` are the offsets of all that were worth a message, in order."""
    waiting, runs = set(unsent), list[list[int]]()
    joined = False
    for offset in worthy:
        if offset not in waiting:
            joined = False
        elif joined:
            runs[-1][1] = offset
        else:
            runs.append([offset, offset])
            joined = True
    while len(runs) > MOST_RUNS:
        (first, _), (_, last) = runs[0], runs[1]
        runs[:2] = [[first, last]]
    return tuple((first, last) for first, last in runs)
