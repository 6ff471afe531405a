"""How far the workers are behind: what their groups have not committed yet, by topic."""

from __future__ import annotations

import threading
import time
from typing import Any

from stream_monitor.config.settings import ROLES_IN, ROLES_REKEYED, Settings
from stream_monitor.errors import StreamMonitorError
from stream_monitor.kafka.topic_reader import TopicReader

GROUPS = {"describe": ROLES_IN, "rekey": ("labels", "feedback"), "judge": ("profiles",)}
"""By stage: the topics that its group commits. Describe reads what rekey writes, where there is a rekey stage."""
FRESH_S = 5.0
"""An answer is given again for so long: many pages must not ask the brokers for each."""


class Lags:
    """Asks the brokers, at most once in a while."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._asked = -FRESH_S
        self._told: dict[str, Any] = {}
        self._reader: TopicReader | None = None

    def view(self) -> dict[str, Any]:
        """Records that each stage has not committed, by topic; or the reason why they are not known."""
        with self._lock:
            if time.monotonic() - self._asked > FRESH_S:
                try:
                    self._told = {"lags": self._ask(), "lags_unknown": None}
                except StreamMonitorError as error:
                    self._reader = None
                    self._told = {"lags": [], "lags_unknown": str(error)}
                self._asked = time.monotonic()
            return self._told

    def _ask(self) -> list[dict[str, Any]]:
        reader = self._reader = self._reader or TopicReader(self.settings)
        found = []
        for stage, roles in GROUPS.items():
            for role in [*roles, *(ROLES_REKEYED if stage == "describe" else ())]:
                partitions = reader.partitions(role)
                done = reader.committed(stage, partitions) if partitions else {}
                if not done:  # the stage does not read this topic
                    continue
                ends = reader.spans(partitions)
                behind = [(ends[p].end - done.get(p, ends[p].first), p[1]) for p in partitions]
                most, number = max(behind)
                total = sum(n for n, _ in behind)
                found.append({"stage": stage, "topic": role, "records": total, "most": most, "partition": number})
        return found
