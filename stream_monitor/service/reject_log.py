"""The log's lines about events that become dead letters: the first of a reason, then one every ten minutes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from stream_monitor.events.rejects import ADVICE, TOMBSTONE, shown
from stream_monitor.stages.statistics import RejectExample

log = logging.getLogger(__name__)

EVERY_S = 600.0
"""Of one topic and reason there is at most one line in this time."""


class RejectLog:
    """Logs what a worker refuses. Topics and reasons are few, so the lines are few whatever comes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._logged: dict[tuple[str, str], float] = {}
        self._waiting: dict[tuple[str, str], int] = {}

    def take(self, refused: Mapping[tuple[str, str], RejectExample]) -> None:
        """Take in the refused events of a commit, by (topic role, reason)."""
        now = self._clock()
        for kind, example in refused.items():
            role, reason = kind
            if reason == TOMBSTONE:
                continue
            self._waiting[kind] = self._waiting.get(kind, 0) + example.events
            if now - self._logged.get(kind, -EVERY_S) >= EVERY_S:
                self._logged[kind] = now
                log.warning(
                    "%s cannot be counted: %s %s (%s). For example %s: %s. To do: %s",
                    role, f"{self._waiting.pop(kind):,}", "refused", reason, example.place, shown(example.error),
                    ADVICE.get(reason, "see the dead letters"),
                    extra={"topic": role, "reason": reason},
                )  # fmt: skip
