"""What the page knows, in one SQLite file: the last record of each key, and how far each topic is read.

A batch of records and the offsets behind them are one transaction, so a restart goes on where it was. Of two records of
one key the later one holds, whatever the order in which they are stored: by offset, of alerts by revision. One thread
writes; each reader has a connection of its own.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from stream_monitor.dashboard.packing import pack_record
from stream_monitor.dashboard.retention import (
    add_fact,
    end_unlisted,
    keep_alert,
    keep_decision,
    keep_letter,
    prune,
    used,
)
from stream_monitor.errors import FormatError, SettingsError
from stream_monitor.events.contracts import Alert, DeadLetter, Health, Metric
from stream_monitor.events.remarks import read_remark
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.kafka.follower import FollowedRecord
from stream_monitor.profiles.bin_catalog import BaselineRecord, EdgesRecord, read_notice

log = logging.getLogger(__name__)

FORMAT = 5
"""Number of the layout. A file with another one is emptied: all it holds is read from Kafka again."""
OURS = 0x53744D6E
"""SQLite's application_id of a store. No other file is touched."""
REMARKS_KEPT = 10_000
PRUNE_EVERY = 5_000
"""Windows after which old ones are deleted."""

_SCHEMA = """
CREATE TABLE position (topic TEXT, number INTEGER, next INTEGER, PRIMARY KEY (topic, number));
CREATE TABLE series (
    id INTEGER PRIMARY KEY, model TEXT, version TEXT, segment TEXT, kind TEXT, size INTEGER,
    UNIQUE (model, version, segment, kind, size)
);
CREATE TABLE window (
    id INTEGER PRIMARY KEY, series INTEGER, start INTEGER, part INTEGER, offset INTEGER, final INTEGER,
    count INTEGER, times REAL, found INTEGER, record BLOB, UNIQUE (series, start, part)
);
CREATE INDEX window_figures ON window (series, start, part, count, times);
CREATE TABLE health (model TEXT PRIMARY KEY, offset INTEGER, app INTEGER, arrived INTEGER, record BLOB);
CREATE TABLE alert (
    id TEXT PRIMARY KEY, model TEXT, incident TEXT, measure TEXT, severity TEXT, opened INTEGER, ended INTEGER,
    first BLOB, last BLOB, last_revision INTEGER, outcome BLOB, outcome_revision INTEGER,
    arrived INTEGER, end_unread INTEGER DEFAULT 0
);
CREATE INDEX alert_open ON alert (model) WHERE ended IS NULL;
CREATE INDEX alert_end_unread ON alert (model) WHERE end_unread;
CREATE INDEX alert_of_model ON alert (model, opened);
CREATE INDEX alert_of_incident ON alert (incident);
CREATE INDEX alert_by_time ON alert (opened);
CREATE TABLE baseline (
    model TEXT, timeline TEXT, version TEXT, segment TEXT, measure TEXT, offset INTEGER, payload BLOB,
    PRIMARY KEY (model, timeline, measure, segment, version)
);
CREATE TABLE edges (
    model TEXT, timeline TEXT, measure TEXT, offset INTEGER, notice BLOB, PRIMARY KEY (model, timeline, measure)
);
CREATE TABLE letter (
    id INTEGER PRIMARY KEY, topic TEXT, number INTEGER, offset INTEGER, ts INTEGER, record BLOB,
    UNIQUE (topic, number, offset)
);
CREATE TABLE letter_hour (topic TEXT, reason TEXT, hour INTEGER, n INTEGER, PRIMARY KEY (topic, reason, hour));
CREATE TABLE decision (
    model TEXT, rollout TEXT, seq INTEGER, ts INTEGER, name TEXT, arrived INTEGER, record BLOB,
    PRIMARY KEY (model, rollout, seq)
);
CREATE TABLE remark (key TEXT PRIMARY KEY, offset INTEGER, model TEXT, record BLOB);
CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER);
"""


_TABLES = {
    "metrics": ("window", "series"),
    "alerts": ("alert",),
    "health": ("health",),
    "baselines": ("baseline", "edges"),
    "dead-letters": ("letter", "letter_hour"),
    "remarks": ("remark",),
    "decisions": ("decision",),
}
"""By role: what is filled from the topic."""


class Store:
    """The file, and the only connection that writes to it. Not for use by two threads at once.

    Args:
        path: the file; it is made where it is missing. SettingsError where it is a file of something else.
        disk: bytes that the records may take; above that the oldest of the finest windows are deleted.
        app: whose records they are; a file of another app is emptied.
    """

    def __init__(self, path: Path, disk: int, app: str) -> None:
        self.path, self.disk = path, disk
        self._app = app
        try:
            self._connection = _connect(path)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise SettingsError(f"dashboard.path: {path} cannot be used: {error}") from None
        self._series: dict[tuple[str, str, str, str, int], int] = {}
        self._unpruned = 0
        self._fresh = set[str]()
        self.revision = 0
        """Grows with each batch that changed something."""
        self.changed = threading.Condition()
        """Notified when `revision` has grown."""
        self.models: dict[str, int] = {}
        """By model: the revision with which its latest record came, since the start."""
        self.strange = 0
        """Records that are none of ours; they are left out."""

    def _prepare(self) -> None:
        db = self._connection
        known = db.execute("PRAGMA user_version").fetchone()[0]
        app = db.execute("SELECT name FROM fact WHERE name LIKE 'app:%'").fetchone() if known == FORMAT else None
        if app is not None and app[0] == f"app:{self._app}":
            return
        self._empty()

    def _empty(self) -> None:
        db = self._connection
        db.execute(f"PRAGMA application_id = {OURS}")
        db.execute("PRAGMA user_version = 0")
        names = db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (name,) in names:
            db.execute(f'DROP TABLE "{name}"')
        db.executescript(_SCHEMA)
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("INSERT INTO fact VALUES (?, 0)", (f"app:{self._app}",))
        db.commit()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- positions ---

    def positions(self) -> dict[tuple[str, int], int]:
        """By (role, partition): the offset of the next record to read."""
        return {(topic, number): next_ for topic, number, next_ in self._connection.execute("SELECT * FROM position")}

    def forget(self, role: str) -> None:
        """Forget what was read of a topic, which was made anew."""
        for table in _TABLES[role]:
            self._connection.execute(f"DELETE FROM {table}")
        self._connection.execute("DELETE FROM position WHERE topic = ?", (role,))
        self._connection.execute("DELETE FROM fact WHERE name = ?", (f"lost:{role}",))
        self._connection.commit()
        self._series.clear()
        self.models.clear()
        self._tell()

    def _tell(self) -> None:
        """Tell that something has changed."""
        self.models |= dict.fromkeys(self._fresh, self.revision + 1)
        self._fresh.clear()
        with self.changed:
            self.revision += 1
            self.changed.notify_all()

    # --- records ---

    def apply(
        self,
        records: Sequence[FollowedRecord],
        next_offsets: Mapping[tuple[str, int], int],
        lost: Mapping[str, int] | None = None,
    ) -> None:
        """Store a batch, the offsets from which to read on, and by role how many offsets expired unread."""
        known = self.positions()
        try:
            for record in records:
                if record.offset >= known.get((record.role, record.number), 0):
                    self._apply(record)
            rows = [(role, number, at) for (role, number), at in next_offsets.items()]
            self._connection.executemany("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", rows)
            for role, n in (lost or {}).items():
                add_fact(self._connection, f"lost:{role}", n)
            if self._unpruned >= PRUNE_EVERY:
                self._prune()
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            self._series.clear()
            self._fresh.clear()
            raise
        if records or lost:
            self._tell()

    def _apply(self, record: FollowedRecord) -> None:
        take = {
            "metrics": self._metric,
            "alerts": self._alert,
            "health": self._health,
            "baselines": self._notice,
            "dead-letters": self._letter,
            "remarks": self._remark,
            "decisions": self._decision,
        }[record.role]
        try:
            take(record)
        except (msgspec.MsgspecError, UnicodeDecodeError, FormatError, ValueError, OverflowError) as error:
            self.strange += 1
            if self.strange <= 10:
                log.warning("%s/%d/%d is no record of ours: %s", record.role, record.number, record.offset, error)

    def _metric(self, record: FollowedRecord) -> None:
        if record.value is None:
            return
        metric = msgspec.json.decode(record.value, type=Metric)
        size = metric.window_end - metric.window_start
        series = self._series_of((metric.model, metric.version, metric.segment, metric.kind, size))
        times = max((m.times for m in metric.measures.values() if m.found and m.times is not None), default=None)
        found = sum(bool(measure.found) for measure in metric.measures.values())
        self._connection.execute(
            "INSERT INTO window (series, start, part, offset, final, count, times, found, record) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (series, start, part) DO UPDATE SET "
            "offset = excluded.offset, final = excluded.final, count = excluded.count, times = excluded.times, "
            "found = excluded.found, record = excluded.record WHERE excluded.offset > window.offset",
            (series, metric.window_start, metric.part, record.offset, metric.final, metric.count, times, found,
             pack_record(record.value)),
        )  # fmt: skip
        self._unpruned += 1
        self._fresh.add(metric.model)

    def _series_of(self, key: tuple[str, str, str, str, int]) -> int:
        if key not in self._series:
            db = self._connection
            db.execute("INSERT OR IGNORE INTO series (model, version, segment, kind, size) VALUES (?, ?, ?, ?, ?)", key)
            where = "model = ? AND version = ? AND segment = ? AND kind = ? AND size = ?"
            self._series[key] = db.execute(f"SELECT id FROM series WHERE {where}", key).fetchone()[0]
        return self._series[key]

    def _alert(self, record: FollowedRecord) -> None:
        if record.value is not None:
            alert = msgspec.json.decode(record.value, type=Alert)
            self._fresh.add(alert.model)
            keep_alert(self._connection, alert, record.ts, pack_record(record.value))

    def _health(self, record: FollowedRecord) -> None:
        model = record.key.decode()
        self._fresh.add(model)
        if record.value is None:
            self._connection.execute("DELETE FROM health WHERE model = ?", (model,))
            return
        health = msgspec.json.decode(record.value, type=Health)
        self._connection.execute(
            "INSERT INTO health VALUES (?, ?, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET offset = excluded.offset, "
            "app = excluded.app, arrived = excluded.arrived, record = excluded.record "
            "WHERE excluded.offset > health.offset",
            (model, record.offset, health.app, record.ts, pack_record(record.value)),
        )
        end_unlisted(self._connection, model)

    def _notice(self, record: FollowedRecord) -> None:
        if record.value is None:
            return
        notice = read_notice(record.value)
        db = self._connection
        if isinstance(notice, EdgesRecord | BaselineRecord):
            self._fresh.add(notice.model)
        if isinstance(notice, EdgesRecord) and notice.categories is None and not notice.former:
            key = notice.model, notice.timeline, notice.measure
            if notice.borders is None:
                db.execute("DELETE FROM edges WHERE model = ? AND timeline = ? AND measure = ?", key)
            else:
                db.execute("INSERT OR REPLACE INTO edges VALUES (?, ?, ?, ?, ?)", (*key, record.offset, record.value))
        elif isinstance(notice, BaselineRecord):
            of = (notice.model, notice.timeline, notice.version or "", notice.segment, notice.measure)
            db.execute(
                "INSERT OR REPLACE INTO baseline VALUES (?, ?, ?, ?, ?, ?, ?)", (*of, record.offset, notice.payload)
            )

    def _letter(self, record: FollowedRecord) -> None:
        if record.value is not None:
            keep_letter(self._connection, msgspec.json.decode(record.value, type=DeadLetter), record.ts, record.value)

    def _decision(self, record: FollowedRecord) -> None:
        if record.value is not None:
            decision = msgspec.json.decode(record.value, type=RolloutDecision)
            self._fresh.add(decision.model)
            keep_decision(self._connection, decision, record.ts, pack_record(record.value))

    def _remark(self, record: FollowedRecord) -> None:
        key, db = record.key.decode(), self._connection
        if record.value is None:
            known = db.execute("SELECT model FROM remark WHERE key = ?", (key,)).fetchone()
            self._fresh.add((known or [None])[0] or "")
            db.execute("DELETE FROM remark WHERE key = ?", (key,))
            return
        remark = read_remark(record.value)
        self._fresh.add(getattr(remark, "model", ""))
        others = db.execute("SELECT COUNT(*) FROM remark WHERE key != ?", (key,)).fetchone()[0]
        if others >= REMARKS_KEPT:
            db.execute("DELETE FROM remark WHERE offset = (SELECT MIN(offset) FROM remark)")
        db.execute(
            "INSERT OR REPLACE INTO remark VALUES (?, ?, ?, ?)",
            (key, record.offset, getattr(remark, "model", None), record.value),
        )

    def _prune(self) -> None:
        self._unpruned = 0
        prune(self._connection, self.disk)
        self._series.clear()

    def used(self) -> int:
        """Bytes that the records take in the file."""
        return used(self._connection)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    theirs = connection.execute("PRAGMA application_id").fetchone()[0] != OURS
    if theirs and connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        raise sqlite3.DatabaseError("it is a file of something else")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -32000")
    return connection


class Snapshot:
    """A connection that only reads. All queries of a `with` block see one state of the store."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        self._connection.execute("PRAGMA busy_timeout = 5000")

    def __enter__(self) -> Snapshot:
        self._connection.execute("BEGIN")
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.rollback()

    def rows(self, query: str, values: Iterable[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query."""
        return iter(self._connection.execute(query, tuple(values)))

    def one(self, query: str, values: Iterable[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a query."""
        row: tuple[Any, ...] | None = self._connection.execute(query, tuple(values)).fetchone()
        return row

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
