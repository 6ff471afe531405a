"""Reports: what the page shows, as one file; of a replay, or of an app's output topics."""

from __future__ import annotations

import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.reader import READ, RECENT
from stream_monitor.dashboard.report import write_report
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.kafka.follower import FollowedRecord, Follower
from stream_monitor.stages.contract import Output
from stream_monitor.terminal import Screen

BATCH = 2_000
DISK = 4_000_000_000
SHOWN = (*READ,)


class ReportStore(AbstractContextManager["ReportStore"]):
    """A temporary store that the outputs of a replay, or of topics, fill."""

    def __init__(self, app: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stream-monitor-report-")
        self._path = Path(self._folder.name) / "report.sqlite"
        self.store = Store(self._path, DISK, app)
        self._queue: list[FollowedRecord] = []
        self._offset = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.close()
        self._folder.cleanup()

    def take(self, output: Output) -> None:
        """Take an output of a replay, in the order in which it was published.

        At the end of a replay all models are forgotten. A report is of the time before.
        """
        if output.role in SHOWN and not output.tombstone:
            ts = int(time.time() * 1000)
            self._queue.append(FollowedRecord(output.role, 0, self._offset, ts, output.key or b"", output.value))
            self._offset += 1
            if len(self._queue) >= BATCH:
                self._store()

    def _store(self) -> None:
        self.store.apply(self._queue, {})
        self._queue = []

    def write(self, path: Path, title: str, span: int | None = None) -> dict[str, int]:
        """Write the report; returns what it holds."""
        self._store()
        reading = Snapshot(self._path)
        try:
            with reading:
                return write_report(reading, path, title, span)
        finally:
            reading.close()


def run(settings: Settings, path: Path, since: int | None, out: Screen, err: Screen) -> None:
    """Read the output topics up to the ends that they have now, and write a report of what is there.

    Args:
        settings: of the app.
        path: the file.
        since: Kafka time (epoch ms) from which metrics and dead letters count; None: all that there are.
        out: where the outcome is printed.
        err: where the progress is shown.
    """
    starts = {role: since if role in RECENT else None for role in READ}
    span = None if since is None else max(int(time.time() * 1000) - since, 1)
    with ReportStore(settings.app) as report:
        with Follower(settings, READ, {}, starts) as follower, err.progress("reading", 1, "share") as bar:
            follower.follow(READ)
            ends = follower.known_ends()
            total = max(follower.behind(ends), 1)
            while left := follower.behind(ends):
                bar.update(1 - left / total)
                batch = follower.poll(BATCH, 0.2)
                report.store.apply(batch.records, batch.positions)
        told(report.write(path, f"{settings.app}: report", span), path, out)


def told(counts: dict[str, int], path: Path, out: Screen) -> None:
    """Print what a report holds."""
    size = path.stat().st_size / 1e6
    held = ", ".join(f"{n} {name}" for name, n in counts.items())
    out.line(f"{path}: {held}, {size:.1f} MB; it opens in any browser, without a network")
