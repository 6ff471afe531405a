"""Answers that were given of late: many pages ask for the same view when something has changed."""

from __future__ import annotations

import gzip
import threading
import zlib
from typing import NamedTuple

MOST_BYTES = 32_000_000
"""What is held at most; of more, the answers that were made first go."""
LOCKS = 64
SMALL = 1_000
"""Bytes below which an answer is not compressed."""


class Answer(NamedTuple):
    """An answer, and the state of the store of which it is."""

    state: str
    body: bytes
    packed: bytes | None
    """Compressed with gzip; None for a small one."""
    mark: str
    """The same for the same text."""


def answer_of(state: str, body: bytes) -> Answer:
    """An answer from its text."""
    packed = gzip.compress(body, 5, mtime=0) if len(body) >= SMALL else None
    return Answer(state, body, packed, f"{zlib.crc32(body):08x}{len(body):x}")


class Answers:
    """The latest answer to each question, within bounds. For many threads."""

    def __init__(self) -> None:
        self._held: dict[str, Answer] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._making = [threading.Lock() for _ in range(LOCKS)]

    def making(self, question: str) -> threading.Lock:
        """To be held while an answer is made: who asks the same meanwhile waits for it."""
        return self._making[zlib.crc32(question.encode()) % LOCKS]

    def get(self, question: str, state: str) -> Answer | None:
        """The answer to a question, if it was given in this state of the store."""
        with self._lock:
            found = self._held.get(question)
        return found if found is not None and found.state == state else None

    def put(self, question: str, answer: Answer) -> None:
        """Hold an answer in the place of the one before."""
        with self._lock:
            self._drop(question)
            self._held[question] = answer
            self._bytes += _size(answer)
            while self._bytes > MOST_BYTES:
                self._drop(next(iter(self._held)))

    def _drop(self, question: str) -> None:
        before = self._held.pop(question, None)
        self._bytes -= 0 if before is None else _size(before)


def _size(answer: Answer) -> int:
    return len(answer.body) + len(answer.packed or b"") + 500
