"""How an app does, from its `health` topic and the lag of its groups alone: what `stream-monitor status` shows."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from stream_monitor.describe.cells import FLEET
from stream_monitor.errors import TopicsError
from stream_monitor.events.contracts import Health
from stream_monitor.kafka.audit import Audit, Span
from stream_monitor.settings import ROLES_IN, Settings
from stream_monitor.stages import Partition

READ_BY = {"describe": ROLES_IN, "judge": ("profiles",)}
"""The topics that each stage reads."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Records of a topic that a stage has not committed yet."""

    stage: str
    role: str
    records: int
    largest: int
    """Of one partition: a sum hides one that is stuck."""
    partition: int
    """Which one."""


@dataclass(slots=True)
class Status:
    """What is known of an app."""

    models: list[Health]
    """By name."""
    app: Health | None
    """What concerns all models."""
    lags: list[Lag]
    strange: list[str] = field(default_factory=list)
    """Records of the topic that are none of ours, and where they lie."""


class StatusReader:
    """Reads the topic once, and then what came since."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._audit = Audit(settings)
        self._partitions = self._audit.partitions("health")
        if not self._partitions:
            raise TopicsError(
                f"the topic {settings.topic('health')} is missing: `stream-monitor topics create` makes it, and judges "
                "that start then write to it. Or was another app meant (`app` of the settings)?"
            )
        self._next: dict[Partition, int] = {}
        self._models: dict[bytes, Health] = {}

    def read(self) -> Status:
        """The app as it is now."""
        strange: list[str] = []
        held = self._audit.decided(self._partitions)
        unread = {p: Span(max(span.first, self._next.get(p, 0)), span.end) for p, span in held.items()}
        for role, message in self._audit.read(unread):
            key = message.key() or b""
            if message.value() is None:
                self._models.pop(key, None)
                continue
            try:
                self._models[key] = msgspec.json.decode(message.value(), type=Health)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                where = f"{self.settings.topic(role)}/{message.partition()}/{message.offset()}"
                strange.append(f"{where} is no record of ours: {error}")
        self._next = {partition: span.end for partition, span in held.items()}
        found = sorted(self._models.values(), key=lambda health: health.model)
        app = next((health for health in found if health.model == FLEET), None)
        return Status([health for health in found if health.model != FLEET], app, self._lags(), strange)

    def _lags(self) -> list[Lag]:
        lags = []
        for stage, roles in READ_BY.items():
            parts = [partition for role in roles for partition in self._audit.partitions(role)]
            done, held = self._audit.committed(stage, parts), self._audit.spans(parts)
            for role in roles:
                behind = [(held[p].end - done.get(p, held[p].first), -p[1]) for p in parts if p[0] == role]
                if behind:
                    largest, partition = max(behind)
                    lags.append(Lag(stage, role, sum(n for n, _ in behind), largest, -partition))
        return lags
