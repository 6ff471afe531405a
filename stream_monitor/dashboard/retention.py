"""What the store keeps, and what it deletes first."""

from __future__ import annotations

import sqlite3

import msgspec

from stream_monitor.config.durations import HOUR
from stream_monitor.dashboard.packing import pack_record, unpack_record
from stream_monitor.events.contracts import Alert, DeadLetter, Health
from stream_monitor.events.rollouts import RolloutDecision

WINDOWS_KEPT = 3_000
"""Windows of each model and size that are kept: two days of 1m, four months of 1h."""
LARGEST_KEPT = 10_000
"""Of the largest size."""
ALERTS_KEPT = 20_000
"""Alerts that have ended; open ones stay."""
LETTERS_KEPT = 1_000
LETTER_HOURS = 24 * 35
REPORTS_KEPT = 500
"""Reports of the evidence of a rollout, the latest; all other decisions are kept."""


def keep_letter(db: sqlite3.Connection, letter: DeadLetter, ts: int, record: bytes) -> None:
    """Store a dead letter that came at `ts` (epoch ms), once, and count it."""
    before = db.total_changes
    db.execute(
        "INSERT OR IGNORE INTO letter (topic, number, offset, ts, record) VALUES (?, ?, ?, ?, ?)",
        (letter.topic, letter.partition, letter.offset, ts, pack_record(record)),
    )
    if db.total_changes > before:
        hour = ts - ts % HOUR
        db.execute(
            "INSERT INTO letter_hour VALUES (?, ?, ?, ?) "
            "ON CONFLICT (topic, reason, hour) DO UPDATE SET n = n + excluded.n",
            (letter.topic, letter.reason, hour, letter.count),
        )
        db.execute("DELETE FROM letter WHERE id <= (SELECT MAX(id) FROM letter) - ?", (LETTERS_KEPT,))
        db.execute("DELETE FROM letter_hour WHERE hour < ?", (hour - LETTER_HOURS * HOUR,))


def keep_decision(db: sqlite3.Connection, decision: RolloutDecision, arrived: int, packed: bytes) -> None:
    """Store a decision that Kafka got at `arrived` (epoch ms); (model, rollout, seq) is unique."""
    about = decision.model, decision.rollout
    values = (*about, decision.seq, decision.ts, decision.decision, arrived, packed)
    db.execute("INSERT OR REPLACE INTO decision VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    if decision.decision == "progress":
        former = "SELECT seq FROM decision WHERE model = ? AND rollout = ? AND name = 'progress' ORDER BY seq DESC"
        db.execute(
            f"DELETE FROM decision WHERE model = ? AND rollout = ? AND seq IN ({former} LIMIT -1 OFFSET ?)",
            (*about, *about, REPORTS_KEPT),
        )


def keep_alert(db: sqlite3.Connection, alert: Alert, arrived: int, packed: bytes) -> None:
    """Store a record of an alert that Kafka got at `arrived` (epoch ms); the highest revision holds."""
    db.execute(
        "INSERT OR IGNORE INTO alert VALUES (?, ?, ?, ?, ?, ?, NULL, NULL, NULL, -1, NULL, -1, ?, 0)",
        (alert.id, alert.model, alert.incident or alert.id, alert.measure, alert.severity, alert.opened_ts, arrived),
    )
    if alert.status == "outcome":
        update = "outcome = ?, outcome_revision = ? WHERE id = ? AND outcome_revision < ?"
        db.execute(f"UPDATE alert SET {update}", (packed, alert.revision, alert.id, alert.revision))
        return
    if alert.status == "open":
        db.execute("UPDATE alert SET first = ? WHERE id = ?", (packed, alert.id))
    ended = alert.ts if alert.status == "resolved" else None
    update = "last = ?, last_revision = ?, severity = ?, ended = ?, arrived = ?, end_unread = 0"
    values = (packed, alert.revision, alert.severity, ended, arrived, alert.id, alert.revision)
    db.execute(f"UPDATE alert SET {update} WHERE id = ? AND last_revision < ?", values)
    end_unlisted(db, alert.model)


def end_unlisted(db: sqlite3.Connection, model: str) -> None:
    """End the open alerts of a model that its health, which is newer, does not name: their last record was never read.

    A page that was away for longer than alerts are kept misses it. The health of a model is published whenever its open
    alerts change, so those that it does not name have ended, unless there are too many to name. What is ended by this
    follows from the latest health and the latest record of each alert, in whichever order they were read.
    """
    db.execute("UPDATE alert SET ended = NULL, end_unread = 0 WHERE model = ? AND end_unread", (model,))
    row = db.execute("SELECT arrived, record FROM health WHERE model = ? AND NOT app", (model,)).fetchone()
    if row is None or not db.execute("SELECT 1 FROM alert WHERE model = ? AND ended IS NULL", (model,)).fetchone():
        return
    arrived, health = row[0], msgspec.json.decode(unpack_record(row[1]), type=Health)
    if health.open_total > len(health.open):
        return
    named = [alert.id for alert in health.open]
    places = ", ".join("?" * len(named))
    db.execute(
        f"UPDATE alert SET ended = MAX(opened, ?), end_unread = 1 "
        f"WHERE model = ? AND ended IS NULL AND arrived < ? AND id NOT IN ({places})",
        (health.window_end, model, arrived, *named),
    )


def prune(db: sqlite3.Connection, disk: int) -> None:
    """Delete what is beyond that which is kept, and the oldest of the finest while the file is larger than `disk`.

    Each model has a time of its own: one that replays a past year, or whose clock is wrong, costs no other one.
    """
    sizes = [size for (size,) in db.execute("SELECT DISTINCT size FROM series ORDER BY size")]
    last = "(SELECT MAX(start) FROM window WHERE series = series.id)"
    newest = db.execute(f"SELECT model, size, MAX({last}) FROM series GROUP BY model, size").fetchall()
    for model, size, start in newest:
        if start is not None:
            since = start - size * (LARGEST_KEPT if size == sizes[-1] else WINDOWS_KEPT)
            ids = "SELECT id FROM series WHERE model = ? AND size = ?"
            db.execute(f"DELETE FROM window WHERE series IN ({ids}) AND start < ?", (model, size, since))
    for size in sizes:
        while used(db) > disk and _drop_oldest(db, size):
            pass
    db.execute("DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM window WHERE window.series = series.id)")
    ended = "SELECT id FROM alert WHERE ended IS NOT NULL ORDER BY opened DESC LIMIT -1 OFFSET ?"
    db.execute(f"DELETE FROM alert WHERE id IN ({ended})", (ALERTS_KEPT,))


def _drop_oldest(db: sqlite3.Connection, size: int) -> bool:
    """Delete the oldest tenth of the windows of a size; False: there are hardly any."""
    ids = "SELECT id FROM series WHERE size = ?"
    low, high = db.execute(f"SELECT MIN(start), MAX(start) FROM window WHERE series IN ({ids})", (size,)).fetchone()
    if low is None or high - low < 10 * size:
        return False
    until = low + max((high - low) // 10, size)
    dropped = db.execute(f"DELETE FROM window WHERE series IN ({ids}) AND start < ?", (size, until)).rowcount
    add_fact(db, "dropped", dropped)
    return True


def add_fact(db: sqlite3.Connection, name: str, n: int) -> None:
    """Add to a counter that the store keeps."""
    db.execute(
        "INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value", (name, n)
    )


def used(db: sqlite3.Connection) -> int:
    """Bytes that the records take in the file."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
