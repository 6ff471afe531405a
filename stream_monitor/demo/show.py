"""`stream-monitor demo`: feeds the flights to the real stages on an embedded broker and shows what they find."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from stream_monitor.baseline.control_records import order
from stream_monitor.config.settings import Settings, parse
from stream_monitor.dashboard.run import listener_of
from stream_monitor.demo import flights
from stream_monitor.demo.canaries import Rollouts
from stream_monitor.demo.feed import DAY, by_day, pace
from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.reason_command import without_command
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.kafka.mock_broker import MockBroker
from stream_monitor.kafka.tail import Tail
from stream_monitor.kafka.writer import EventWriter
from stream_monitor.service import run as app
from stream_monitor.service.registry import stages_of
from stream_monitor.telemetry.ports import address
from stream_monitor.terminal import Bar, Column, Screen, Table, coloured, dim
from stream_monitor.terminal.charts import COLOURS, picture
from stream_monitor.timestamps import when

HOUR = 3_600_000
AHEAD_DAYS = 21
"""How far the feed may run ahead of what both stages have finished: the broker keeps 5 MiB a partition."""
MORNING = 6 * HOUR
"""When a day of the feed begins: nobody flies before, so a canary's decisions of the night count for the whole day."""
QUIET_S = 0.5
"""Both stages have said all about a day that is over when nothing more comes for so long."""
PATIENCE_S = 60.0


def settings() -> Settings:
    """Panes of an hour, windows of a day, and a baseline of ten days, because a single one is no week.

    Everything else is what a user gets without a file.
    """
    return parse(
        {
            "app": "demo",
            "time": {"pane": "1h", "windows": ["1d"], "allowed_lateness": "1h", "idle_after": "2s"},
            "join": {"grain": "1d"},
            "baseline": {"first_within": None},
            "detection": {"recovery": 3, "cooldown": "7d"},
            "commit": {"interval": "200ms"},
            "http": {"enabled": False},
        }
    )


class Show:
    """Feeds, reads what comes out, draws."""

    def __init__(self, broker: MockBroker, speed: float, page: bool) -> None:
        self.settings = broker.reached_by(settings())
        self.topology = broker.topology(self.settings)
        self.speed = speed
        self.screen = Screen()
        self.feed = EventWriter(self.settings)
        self.tail = Tail(self.settings, ("alerts", "metrics", "decisions"))
        self.rollouts = Rollouts()
        self.alerts: list[dict[str, Any]] = []
        self.fed = {"predictions": 0, "labels": 0}
        self.counted: dict[tuple[int, str], int] = {}
        """Flights by window and version."""
        self.finished = flights.LEARN_UNTIL
        self._page = self._start_page() if page else None
        self._heard = time.monotonic()

    def run(self) -> float:
        """The whole year; returns the seconds it took."""
        started = time.monotonic()
        workers = app.start_workers(self.settings, self.topology, stages_of(False), 1)
        try:
            with self.screen.progress("learning on January", 334, "time") as bar:
                for day, events in by_day(flights.events(self.rollouts.router.version_for), MORNING):
                    self._wait_for(day - AHEAD_DAYS * DAY, bar)
                    for record in self.rollouts.due(day + DAY):
                        order(self.settings, record, self.topology.profiles)
                    for role, key, value in events:
                        self.feed.send(role, key, value)
                        self.fed[role] += 1
                    self.feed.flush()
                    pace(started, day, self.speed)
                    self._read(bar)
                    if self.rollouts.is_near(day):
                        self._stay_close(day + DAY - MORNING, bar)
                while sum(self.counted.values()) < self.fed["predictions"]:
                    self._read(bar, 0.2)
                self._settle(bar)
        finally:
            app.stop_workers(workers)
            self.tail.close()
        return time.monotonic() - started

    def _start_page(self) -> app.Worker:
        listener = listener_of(self.settings)
        url = address(self.settings.http, listener)
        self.screen.line(f"the page is at {url} while this runs: every measure, alerts, what can be left out")
        return app.start_page(self.settings, listener)

    def close(self, stay: bool) -> None:
        """Stop the page; with `stay`, once Ctrl-C is pressed."""
        if self._page is None:
            return
        try:
            if stay:
                self.screen.line("the page stays until Ctrl-C")
                self._page.process.join()
        except KeyboardInterrupt:
            self.screen.line()
        finally:
            app.stop_workers([self._page])

    def _wait_for(self, day: int, bar: Bar) -> None:
        """Until the window that ends at `day` is final."""
        while self.finished < day:
            self._read(bar, 0.2)

    def _stay_close(self, day: int, bar: Bar) -> None:
        """Until all decisions of the night after `day` are heard: the next flights follow their weights."""
        self._wait_for(day, bar)
        while time.monotonic() - self._heard < QUIET_S:
            self._read(bar, 0.1)

    def _settle(self, bar: Bar) -> None:
        """Labels come last: read on until nothing more is said."""
        while time.monotonic() - self._heard < 2 * self.settings.time.idle_after / 1000:
            self._read(bar, 0.2)

    def _read(self, bar: Bar, timeout_s: float = 0.0) -> None:
        for role, value in self.tail.read(timeout_s):
            self._heard = time.monotonic()
            if role == "decisions":
                line = self.rollouts.take(msgspec.json.decode(value, type=RolloutDecision))
                if line is not None:
                    self.screen.draw(line)
                continue
            record = msgspec.json.decode(value)
            if role == "alerts":
                self.alerts.append(record)
                self._print(record)
            elif record["kind"] == "traffic" and record["segment"] == "all":
                self.counted[record["window_start"], record["version"]] = record["count"] + record.get("late", 0)
                if record["final"]:
                    self.finished = max(self.finished, record["window_end"])
        if time.monotonic() - self._heard > PATIENCE_S:
            raise StreamMonitorError(f"nothing came out for {PATIENCE_S:.0f} s: the stages are stuck")
        done = (self.finished - flights.LEARN_UNTIL) // DAY
        counts = f"{sum(self.counted.values()):,} flights, {len(self.alerts)} alert records"
        bar.update(done, what=when(self.finished)[:10], told=counts)

    def _print(self, alert: dict[str, Any]) -> None:
        status = coloured(f"{alert['status']:<8}", COLOURS[alert["status"]])
        self.screen.line(
            f"{when(alert['ts'])[:10]} ", status, f" {alert['severity']:<8} {without_command(alert['reason'])}"
        )
        drawn = picture(alert) if alert["status"] == "open" else None
        if drawn:
            self.screen.line(dim(f"{'':<20}baseline"), f" {drawn[0]}  ", dim("now"), f" {drawn[1]}")


@dataclass(frozen=True)
class Incident:
    """A feed that the demo breaks, and what to call it."""

    name: str
    measure: str
    start: int
    harms: bool

    def opened(self, alerts: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The first alert on its measure that opened after it began."""
        mine = (a for a in alerts if a["measure"] == self.measure and a["status"] == "open" and a["ts"] > self.start)
        return next(mine, None)

    def outcome(self, alerts: list[dict[str, Any]]) -> str | None:
        """What labels said of the answers since then: worse, unchanged, …; None: nothing yet."""
        opening = self.opened(alerts)
        told = [a for a in alerts if opening is not None and a["id"] == opening["id"] and a["status"] == "outcome"]
        return told[-1]["attribution"]["error"]["state"] if told else None

    def told(self, alerts: list[dict[str, Any]]) -> str:
        """How it went, in a sentence."""
        opening = self.opened(alerts)
        if opening is None:
            return f"{self.name}: NOT FOUND"
        hours = (opening["ts"] - self.start) // HOUR
        said = {"worse": "answers got worse", "unchanged": "answers stayed as they were", None: "no labels yet"}
        outcome = self.outcome(alerts)
        return f"{self.name}: found after {hours} h; {said.get(outcome, f'answers: {outcome}')}"


INCIDENTS = (
    Incident("kilometres in place of miles", flights.UNITS_MEASURE, flights.UNITS_START, harms=False),
    Incident("a feed that freezes", flights.FROZEN_MEASURE, flights.FROZEN_START, harms=True),
)


def summary(alerts: list[dict[str, Any]]) -> Table:
    """What was found when, the injected incidents first."""
    injected = {id(found): one for one in INCIDENTS if (found := one.opened(alerts)) is not None}
    opened = [a for a in alerts if a["status"] == "open"]
    ends = {a["id"]: a["ts"] for a in alerts if a["status"] == "resolved"}
    names = ("opened", "until", "measure", "kind", "severity")
    table = Table([*map(Column, names), Column("why", "prose")], "what was found when (days, UTC)")
    for alert in sorted(opened, key=lambda a: (id(a) not in injected, a["ts"])):
        incident = injected.get(id(alert))
        until = when(ends[alert["id"]])[:10] if alert["id"] in ends else "open"
        why = without_command(alert["reason"]).split(": ", 1)[-1]
        why += f"  ← injected: {incident.name}" if incident else ""
        row = (when(alert["ts"])[:10], until, alert["measure"], alert["kind"], alert["severity"], why)
        table.row(*row, style="bold red" if incident else "")
    return table


def show(report: Path | None, speed: float, page: bool = False, stay: bool | None = False) -> int:
    """Run the demo; exit code 1 when an injected incident was not found, its harm was told wrongly, or a canary failed.

    Args:
        report: file for what was found.
        speed: days a second; 0: as fast as it goes.
        page: serve the page, too.
        stay: keep it after the year; None: on a terminal.
    """
    with MockBroker() as broker:
        demo = Show(broker, speed, page)
        try:
            seconds = demo.run()
            code = _tell(demo, seconds, report)
        except BaseException:
            demo.close(stay=False)
            raise
        demo.close(demo.screen.is_terminal if stay is None else stay)
    return code


def _tell(demo: Show, seconds: float, report: Path | None) -> int:
    """Print the summary, and write the report; the exit code."""
    demo.screen.table(summary(demo.alerts))
    for incident in INCIDENTS:
        demo.screen.line(incident.told(demo.alerts))
    for line in demo.rollouts.told():
        demo.screen.draw(line)
    counts = f"{demo.fed['predictions']:,} predictions and {demo.fed['labels']:,} labels in {seconds:.1f} s"
    demo.screen.line(counts)
    found = [incident.opened(demo.alerts) for incident in INCIDENTS]
    told = all((one.outcome(demo.alerts) == "worse") == one.harms for one in INCIDENTS)
    if report is not None:
        report.write_bytes(
            msgspec.json.encode(
                {
                    "seconds": seconds,
                    **demo.fed,
                    "counted": sum(demo.counted.values()),
                    "incidents": found,
                    "alerts": demo.alerts,
                    "rollouts": [one for one in demo.rollouts.decisions if one.decision != "progress"],
                }
            )
        )
    return 0 if all(found) and told and demo.rollouts.as_planned else 1
