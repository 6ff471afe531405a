"""Reads the retained profiles and alerts of an app while it runs: without a consumer group, commits or writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, FormatError, TopicsError
from stream_monitor.events.contracts import Alert
from stream_monitor.kafka.skips import place_of, skips_of
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.topic_reader import Span, TopicReader
from stream_monitor.profiles.names import ALL_MODELS
from stream_monitor.profiles.records import Record, SettingsRecord, read_record
from stream_monitor.stages.contract import Partition, Skip
from stream_monitor.stages.topology import partition_of

PATIENCE_S = 60.0


class RetainedLog:
    """The profiles up to the judges' committed offsets, and exactly the alerts and decisions published by then.

    Raises:
        TopicsError: there is no such app.
        BrokerError: the broker did not answer, or the judges committed too often to find such a moment.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._audit = TopicReader(settings)
        self._profiles = self._audit.partitions("profiles")
        self._alerts = self._audit.partitions("alerts")
        self._decisions = self._audit.partitions("decisions")
        if not self._profiles or not self._alerts:
            raise TopicsError(f"there are no topics of the app {settings.app!r}: was another name meant?")
        self._spans, self._published = self._cut()
        self._skips = set[Skip]().union(*map(skips_of, self._audit.metadata("judge", self._profiles)))

    def _cut(self) -> tuple[dict[Partition, Span], dict[Partition, Span]]:
        """Spans of profiles, and of alerts and decisions, at one moment.

        A judge commits its offsets and what it publishes together. If the offsets are equal before and after reading
        the spans, there was no commit between.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            before = self._audit.committed("judge", self._profiles)
            published = self._audit.decided([*self._alerts, *self._decisions])
            if before == self._audit.committed("judge", self._profiles):
                profiles = self._audit.spans(self._profiles)
                return {p: Span(s.first, max(s.first, before.get(p, s.first))) for p, s in profiles.items()}, published
            if time.monotonic() > deadline:
                raise BrokerError(f"the judges of {self.settings.app!r} commit all the time: raise commit.interval")

    @property
    def numbers(self) -> list[int]:
        """The partitions of `profiles`."""
        return [number for _, number in self._profiles]

    def partition_of(self, model: str) -> int:
        """The partition of `profiles` in which a model is judged; partition 0 for the whole app."""
        return 0 if model == ALL_MODELS else partition_of(model, len(self._profiles))

    def size(self, number: int) -> int:
        """The number of readable offsets of a partition: records and transaction markers."""
        span = self._spans["profiles", number]
        return span.end - span.first

    def whole(self, number: int) -> bool:
        """Whether the partition still holds its first record."""
        return self._spans["profiles", number].first == 0

    def profiles(self, number: int) -> Iterator[tuple[int, Record, int]]:
        """(offset, record, broker time in epoch ms) of all records that the judge has processed, in log order."""
        partition = "profiles", number
        for _, message in self._audit.read({partition: self._spans[partition]}):
            place = Skip("profiles", number, message.offset())
            if message.value() is not None and place not in self._skips:
                yield message.offset(), self._read(place, message.value()), message.timestamp()[1]

    def recorded_settings(self, number: int) -> str | None:
        """The oldest settings record of a partition, as JSON; None when there is none."""
        records = (record for _, record, _ in self.profiles(number))
        return next((record.text for record in records if isinstance(record, SettingsRecord)), None)

    def _read(self, place: Skip, value: bytes) -> Record:
        try:
            return read_record(value)
        except FormatError as error:
            raise FormatError(f"{place_of(self.settings, *place)} holds no record of ours: {error}") from error

    @property
    def alerts_whole(self) -> bool:
        """Whether the topic `alerts` still holds its first records."""
        return all(self._published[partition].first == 0 for partition in self._alerts)

    def alerts(self) -> Iterator[Alert]:
        """Alert records as they were published; those of an alert come in order."""
        for _, message in self._audit.read({partition: self._published[partition] for partition in self._alerts}):
            yield msgspec.json.decode(message.value(), type=Alert)

    def decisions(self) -> Iterator[bytes]:
        """Decisions about rollouts as they were published; those of a rollout come in order."""
        for _, message in self._audit.read({partition: self._published[partition] for partition in self._decisions}):
            yield message.value()

    @cached_property
    def notices(self) -> list[bytes]:
        """The records of the topic `baselines`: edges and active baselines."""
        return list(tail(self.settings, "baselines", follow=False))
