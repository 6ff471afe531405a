"""The message that is being sent, and when it is tried next."""

from __future__ import annotations

import random
from dataclasses import dataclass

from stream_monitor.notify.notices import Notice

FIRST_MS, LONGEST_MS = 1_000, 300_000
"""The pauses between tries double from the first to the longest."""


@dataclass(slots=True)
class Outbox:
    """A message that is not accepted yet."""

    notice: Notice
    since: int
    """When it was tried first (epoch ms)."""
    due: int = 0
    tries: int = 0

    def put_off(self, now: int, after_s: float | None, rng: random.Random) -> None:
        """Try again later: when the service says, else after a pause that grows, and differs among receivers."""
        self.tries += 1
        wait = min(LONGEST_MS, FIRST_MS * 2 ** min(self.tries - 1, 20))
        self.due = now + (round(after_s * 1000) if after_s is not None else round(wait * rng.uniform(0.5, 1.0)))
