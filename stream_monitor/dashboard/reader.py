"""Reads the output topics into the store, without a group: the reader cannot disturb a worker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.store import Store
from stream_monitor.errors import StreamMonitorError
from stream_monitor.kafka.follower import Follower

log = logging.getLogger(__name__)

FIRST = ("health", "baselines", "remarks", "decisions", "alerts")
"""Small topics, which are read from their beginning before anything else."""
READ = (*FIRST, "metrics", "dead-letters")
RECENT = ("metrics", "dead-letters")
"""Topics that are read from `dashboard.catch_up` ago on."""
BATCH = 2_000
AGAIN_S = 3.0
"""The pause after an error, before the reader connects anew."""


@dataclass(slots=True)
class Progress:
    """How far the reader is, for the page."""

    state: str = "connecting"
    """connecting, reading (there is a backlog), live, or away (Kafka does not answer)."""
    reason: str = ""
    """Why Kafka is away."""
    since: float = field(default_factory=time.time)
    """When the state began (s)."""
    behind: int = 0
    """Records that are left to read."""
    read: int = 0
    """Records since the start."""
    newest: int = 0
    """Kafka time of the newest record (epoch ms)."""

    def enter(self, state: str, reason: str = "") -> bool:
        """Change the state, and return whether it is another one; a state that goes on keeps its begin."""
        if (state, reason) == (self.state, self.reason):
            return False
        self.state, self.reason, self.since = state, reason, time.time()
        return True


class Reader:
    """The thread that reads. It never ends by itself: after an error it connects anew."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store, self.progress = settings, store, Progress()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except StreamMonitorError as error:
                if self.progress.enter("away", str(error)):
                    log.warning("%s; the page tries again every %.0f s", error, AGAIN_S)
            except Exception as error:
                if self.progress.enter("away", f"an error of our own: {error}"):
                    log.exception("the reader failed; it begins again every %.0f s", AGAIN_S)
            self._stop.wait(AGAIN_S)

    def _follow(self) -> None:
        with Follower(self.settings, READ, self.store.positions(), self._starts()) as follower:
            for role in follower.made_anew:
                log.warning("the topic %s was made anew: what was read of it is forgotten", self.settings.topic(role))
                self.store.forget(role)
            self._read(follower, FIRST)
            self._read(follower, READ)

    def _starts(self) -> dict[str, int | None]:
        """By role: the Kafka time (epoch ms) from which a topic is read that was never read; None: all of it."""
        since = int(time.time() * 1000) - self.settings.dashboard.catch_up
        return {role: since if role in RECENT else None for role in READ}

    def _read(self, follower: Follower, roles: Sequence[str]) -> None:
        """Read topics: all but the last call end at their end; the last one goes on until it is stopped."""
        follower.follow(roles)
        while not self._stop.is_set():
            batch = follower.poll(BATCH, 0.2)
            for role, n in batch.lost.items():
                log.warning("%s: up to %d records expired before the page read them", self.settings.topic(role), n)
            if batch.records or batch.moved or batch.lost:
                self.store.apply(batch.records, batch.positions, batch.lost)
                self.progress.read += len(batch.records)
                self.progress.newest = max([self.progress.newest, *(record.ts for record in batch.records)])
            self.progress.behind = follower.behind()
            self.progress.enter("reading" if roles != READ or self.progress.behind > BATCH else "live")
            if roles != READ and not self.progress.behind:
                return
