"""All receivers of an app in one process: a thread each, and one that follows what people say."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError, StreamMonitorError
from stream_monitor.kafka.follower import Follower
from stream_monitor.notify.delivery import Delivery
from stream_monitor.notify.remarks import RemarkBook
from stream_monitor.notify.transport import apprise
from stream_monitor.telemetry.notify_metrics import NotifyTelemetry

log = logging.getLogger(__name__)

AGAIN_S = 3.0
NOBODY = "no receiver is named: set notify.receivers (docs/notifications.md)"


class RemarkReader:
    """The thread that follows `remarks`. After an error it connects anew; what was said stays in force."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.book = settings, RemarkBook()
        self.is_read = threading.Event()
        """All that had been said at the start is in force."""

    def run(self, stop: threading.Event) -> None:
        """Follow until the stop."""
        while not stop.is_set():
            try:
                with Follower(self.settings, ("remarks",), {}, {"remarks": None}) as follower:
                    follower.follow(("remarks",))
                    self._follow(follower, stop)
            except StreamMonitorError as error:
                log.warning("remarks cannot be read: %s; tried again every %.0f s", error, AGAIN_S)
            except Exception:
                log.exception("the reader of remarks failed; it begins again")
            stop.wait(AGAIN_S)

    def _follow(self, follower: Follower, stop: threading.Event) -> None:
        while not stop.is_set():
            for record in follower.poll(1_000, 0.2).records:
                self.book.take(record.key, record.value)
            if not follower.behind():
                self.is_read.set()


class Notifier:
    """The receivers of an app, or those that are named, at work."""

    def __init__(self, settings: Settings, telemetry: NotifyTelemetry) -> None:
        if not settings.notify.receivers:
            raise SettingsError(NOBODY)
        if any(receiver.kind == "apprise" for receiver in settings.notify.receivers.values()):
            apprise.require()
        self.settings = settings
        self.remarks = RemarkReader(settings)
        self.deliveries = {
            name: Delivery(settings, name, self.remarks.book, telemetry, self._announce)
            for name in settings.notify.receivers
        }
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def _announce(self, stopped: str, why: str) -> None:
        """Tell the others that a receiver has stopped."""
        for name, delivery in self.deliveries.items():
            if name != stopped:
                delivery.announcements.append(
                    f"the receiver {stopped} has stopped: {why}; its messages wait until somebody mends it and starts "
                    "`notify` again"
                )

    def start(self) -> None:
        """Begin: first with what people have said, so that nothing muted is sent."""
        self._begin("remarks", self.remarks.run)
        for name, delivery in self.deliveries.items():
            self._begin(f"receiver-{name}", partial(self._deliver, delivery))

    def _deliver(self, delivery: Delivery, stop: threading.Event) -> None:
        while not stop.is_set() and not self.remarks.is_read.wait(0.1):
            delivery.health.seen = time.monotonic()
        delivery.run(stop)

    def _begin(self, name: str, work: Callable[[threading.Event], None]) -> None:
        thread = threading.Thread(target=work, args=[self._stop], name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def close(self) -> None:
        """Stop after the messages in hand, and leave the groups."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    # --- health ---

    def not_ready_reason(self, most: int | None = None) -> str | None:
        """Why not all receivers are at work; None when they are."""
        for name, delivery in self.deliveries.items():
            if delivery.health.stopped is not None:
                return f"the receiver {name} has stopped: {delivery.health.stopped}"
            if delivery.health.reason:
                return f"the receiver {name}: {delivery.health.reason}"
        return None

    def hung(self) -> str | None:
        """Why the process counts as hung: a thread has not come back for long. A request takes ten seconds at most."""
        after = self.settings.http.hung_after / 1000
        for name, delivery in self.deliveries.items():
            silent = time.monotonic() - delivery.health.seen
            if silent > after and delivery.health.stopped is None and not delivery.health.reason:
                return f"the receiver {name} has not come back for {silent:.0f} s"
        return None
