"""`stream-monitor demo`: feeds the flights to the real stages on an embedded broker and shows what they find."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from stream_monitor import app
from stream_monitor.demo import flights
from stream_monitor.errors import StreamMonitorError
from stream_monitor.kafka.embedded import EmbeddedBroker
from stream_monitor.kafka.feed import Feed
from stream_monitor.kafka.tail import Tail
from stream_monitor.pictures import COLOURS, picture, when
from stream_monitor.settings import Settings, parse

DAY = 86_400_000
AHEAD_DAYS = 21
"""How far the feed may run ahead of what both stages have finished: the broker keeps 5 MiB a partition."""
PATIENCE_S = 60.0


def settings() -> Settings:
    """Panes of an hour, windows of a day; everything else is what a user gets without a file."""
    return parse(
        {
            "app": "demo",
            "time": {"pane": "1h", "windows": ["1d"], "allowed_lateness": "1h", "idle_after": "2s"},
            "join": {"grain": "1d"},
            "detection": {"recovery": 3, "cooldown": "7d"},
            "commit": {"interval": "200ms"},
            "http": {"enabled": False},
        }
    )


class Show:
    """Feeds, reads what comes out, draws."""

    def __init__(self, broker: EmbeddedBroker, speed: float) -> None:
        self.settings = broker.reached_by(settings())
        self.layout = broker.layout(self.settings)
        self.speed = speed
        self.console = Console(highlight=False)
        self.feed = Feed(self.settings)
        self.tail = Tail(self.settings, ("alerts", "metrics"))
        self.alerts: list[dict[str, Any]] = []
        self.fed = {"predictions": 0, "labels": 0}
        self.counted: dict[int, int] = {}
        self.finished = flights.LEARN_UNTIL
        self._heard = time.monotonic()

    def run(self) -> float:
        """The whole year; returns the seconds it took."""
        started = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(40),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
        )
        workers = app.start_workers(self.settings, self.layout, app.STAGES, 1)
        try:
            with Progress(*columns, console=self.console) as progress:
                task = progress.add_task("learning on January", total=334, told="")
                for day, events in _by_day(flights.events()):
                    self._wait_for(day - AHEAD_DAYS * DAY, progress, task)
                    for role, key, value in events:
                        self.feed.send(role, key, value)
                        self.fed[role] += 1
                    self.feed.flush()
                    self._pace(started, day)
                    self._read(progress, task)
                while sum(self.counted.values()) < self.fed["predictions"]:
                    self._read(progress, task, 0.2)
                self._settle(progress, task)
        finally:
            app.stop_workers(workers)
            self.tail.close()
        return time.monotonic() - started

    def _pace(self, started: float, day: int) -> None:
        if self.speed:
            ahead = (day - flights.LEARN_UNTIL) / DAY / self.speed - (time.monotonic() - started)
            time.sleep(max(0.0, ahead))

    def _wait_for(self, day: int, progress: Progress, task: TaskID) -> None:
        """Until the window that ends at `day` is final."""
        while self.finished < day:
            self._read(progress, task, 0.2)

    def _settle(self, progress: Progress, task: TaskID) -> None:
        """Labels come last: read on until nothing more is said."""
        while time.monotonic() - self._heard < 2 * self.settings.time.idle_after / 1000:
            self._read(progress, task, 0.2)

    def _read(self, progress: Progress, task: TaskID, timeout_s: float = 0.0) -> None:
        for role, value in self.tail.read(timeout_s):
            self._heard = time.monotonic()
            record = msgspec.json.decode(value)
            if role == "alerts":
                self.alerts.append(record)
                self._print(progress.console, record)
            elif record["kind"] == "traffic" and record["segment"] == "all":
                self.counted[record["window_start"]] = record["count"] + record.get("late", 0)
                if record["final"]:
                    self.finished = max(self.finished, record["window_end"])
        if time.monotonic() - self._heard > PATIENCE_S:
            raise StreamMonitorError(f"nothing came out for {PATIENCE_S:.0f} s: the stages are stuck")
        done = (self.finished - flights.LEARN_UNTIL) // DAY
        told = f"{sum(self.counted.values()):,} flights, {len(self.alerts)} alert records"
        progress.update(task, completed=done, told=told, description=when(self.finished)[:10])

    def _print(self, console: Console, alert: dict[str, Any]) -> None:
        colour = COLOURS[alert["status"]]
        status = f"[{colour}]{alert['status']:<8}[/{colour}]"
        console.print(f"{when(alert['ts'])[:10]} {status} {alert['severity']:<8} {alert['reason']}")
        drawn = picture(alert) if alert["status"] == "open" else None
        if drawn:
            console.print(f"[dim]{'':<20}baseline[/dim] {drawn[0]}  [dim]now[/dim] {drawn[1]}")


def _by_day(events: Iterator[tuple[str, str, bytes]]) -> Iterator[tuple[int, list[tuple[str, str, bytes]]]]:
    day, batch = flights.LEARN_UNTIL, list[tuple[str, str, bytes]]()
    for event in events:
        ts = msgspec.json.decode(event[2], type=_Timed).ts
        if ts >= day + DAY:
            yield day, batch
            day, batch = ts - ts % DAY, []
        batch.append(event)
    yield day, batch


class _Timed(msgspec.Struct):
    ts: int


def incident_alert(alerts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first alert on the measure of the injected incident after it began."""
    return next(
        (a for a in alerts if a["measure"] == flights.INCIDENT_MEASURE and a["ts"] > flights.INCIDENT_START), None
    )


def summary(alerts: list[dict[str, Any]]) -> Table:
    """What was found when, the injected incident first."""
    found = incident_alert(alerts)
    opened = [a for a in alerts if a["status"] == "open"]
    ends = {a["id"]: a["ts"] for a in alerts if a["status"] == "resolved"}
    table = Table("opened", "until", "measure", "kind", "severity", "why", title="what was found when")
    for alert in sorted(opened, key=lambda a: (a is not found, a["ts"])):
        style = "bold red" if alert is found else ""
        until = when(ends[alert["id"]])[:10] if alert["id"] in ends else "open"
        why = alert["reason"].split(": ", 1)[-1] + ("  ← the injected incident: kilometres" if alert is found else "")
        row = (when(alert["ts"])[:10], until, alert["measure"], alert["kind"], alert["severity"], why)
        table.add_row(*row, style=style)
    return table


def show(report: Path | None, speed: float) -> int:
    """Run the demo; exit code 1 when the incident was not found."""
    with EmbeddedBroker() as broker:
        demo = Show(broker, speed)
        seconds = demo.run()
    demo.console.print(summary(demo.alerts))
    found = incident_alert(demo.alerts)
    counts = f"{demo.fed['predictions']:,} predictions and {demo.fed['labels']:,} labels in {seconds:.1f} s"
    demo.console.print(counts)
    if report is not None:
        report.write_bytes(
            msgspec.json.encode(
                {
                    "seconds": seconds,
                    "events": sum(demo.fed.values()),
                    "incident": {"measure": flights.INCIDENT_MEASURE, "start": flights.INCIDENT_START, "alert": found},
                    "alerts": demo.alerts,
                }
            )
        )
    return 0 if found else 1
