"""How an app does, from its `health` topic and the lag of its groups alone: what `stream-monitor status` shows."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.errors import FormatError, TopicsError
from stream_monitor.events.contracts import Health
from stream_monitor.kafka.topic_reader import Span, TopicReader
from stream_monitor.kafka.topics import inspect
from stream_monitor.service.registry import STAGES, stages_of
from stream_monitor.stages.contract import Partition

LATEST = 253_402_300_799_999
"""The last millisecond of a calendar's years, epoch ms."""


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


def sound(health: Health) -> Health:
    """FormatError unless a record agrees with itself, and its times are of a calendar."""
    times = [health.window_start, health.window_end, *(alert.opened_ts for alert in health.open)]
    if not all(0 <= ts <= LATEST for ts in times) or bool(health.open_total) != bool(health.open):
        raise FormatError("its times or its open alerts cannot be")
    return health


class StatusReader:
    """Reads the topic once, and then what came since."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        rekey = inspect(settings).rekey
        self._stages = {stage: STAGES[stage].inputs for stage in stages_of(rekey)}
        self._audit = TopicReader(settings)
        self._behind = TopicReader(settings.behind_rekey()) if rekey else self._audit
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
        held = self._audit.stable(self._partitions)
        if any(span.end < self._next.get(partition, 0) for partition, span in held.items()):  # it was made anew
            self._next.clear()
            self._models.clear()
        unread = {p: Span(max(span.first, self._next.get(p, 0)), span.end) for p, span in held.items()}
        for role, message in self._audit.read(unread):
            key = message.key() or b""
            if message.value() is None:
                self._models.pop(key, None)
                continue
            try:
                self._models[key] = sound(msgspec.json.decode(message.value(), type=Health))
            except (msgspec.MsgspecError, UnicodeDecodeError, FormatError) as error:
                where = f"{self.settings.topic(role)}/{message.partition()}/{message.offset()}"
                strange.append(f"{where} is no record of ours: {error}")
        self._next = {partition: span.end for partition, span in held.items()}
        found = sorted(self._models.values(), key=lambda health: health.model)
        app = next((health for health in found if health.app), None)
        return Status([health for health in found if not health.app], app, self._lags(), strange)

    def _lags(self) -> list[Lag]:
        lags = []
        for stage, roles in self._stages.items():
            audit = self._audit if STAGES[stage].only_with_rekey else self._behind
            parts = [partition for role in roles for partition in audit.partitions(role)]
            done, held = audit.committed(stage, parts), audit.spans(parts)
            for role in roles:
                behind = [(held[p].end - done.get(p, held[p].first), -p[1]) for p in parts if p[0] == role]
                if behind:
                    largest, partition = max(behind)
                    lags.append(Lag(stage, role, sum(n for n, _ in behind), largest, -partition))
        return lags
