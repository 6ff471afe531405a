"""The flights, day by day: fed to the embedded broker of the demo, or to the input topics of an app on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.demo import flights
from stream_monitor.kafka.topics import create
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.terminal import Screen

DAY = 86_400_000

Event = tuple[str, str, bytes]
"""Topic role, id, bytes."""


class _Timed(msgspec.Struct):
    ts: int


def by_day(events: Iterator[Event], begins: int = 0) -> Iterator[tuple[int, list[Event]]]:
    """(start of a day, its events), in order; days begin so many ms after midnight."""
    day, batch = flights.LEARN_UNTIL + begins - (DAY if begins else 0), list[Event]()
    for event in events:
        ts = msgspec.json.decode(event[2], type=_Timed).ts
        if ts >= day + DAY:
            if batch:
                yield day, batch
            day, batch = ts - (ts - begins) % DAY, []
        batch.append(event)
    yield day, batch


def pace(started: float, day: int, speed: float) -> None:
    """Wait until this day is due, at `speed` days a second since `started`; 0: never wait."""
    if speed:
        ahead = (day - flights.LEARN_UNTIL) / DAY / speed - (time.monotonic() - started)
        time.sleep(max(0.0, ahead))


def feed(settings: Settings, speed: float, screen: Screen) -> None:
    """Send the year to the input topics of an app, whose workers run elsewhere; version 1 answers every flight."""
    if settings.topics.create:
        create(settings)
    writer, started, sent = EventWriter(settings), time.monotonic(), 0
    with screen.progress("learning on January", 334, "time") as bar:
        for day, events in by_day(flights.events()):
            for role, key, value in events:
                writer.send(role, key, value)
            writer.flush()
            sent += len(events)
            pace(started, day, speed)
            bar.update((day - flights.LEARN_UNTIL) // DAY, what="sending", told=f"{sent:,} events")
    screen.line(f"{sent:,} events sent to {settings.topic('predictions')} and {settings.topic('labels')}")
