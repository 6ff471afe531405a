"""What the page says of itself and of what could not be counted: positions, size of the store, dead letters."""

from __future__ import annotations

from typing import Any

import msgspec

from stream_monitor.dashboard.packing import unpack_record
from stream_monitor.dashboard.reader import Progress
from stream_monitor.dashboard.store import Snapshot

SHOWN = 100
"""Dead letters that are listed; the hours count all."""
TEXT = 4_000
"""Characters of an event that are shown."""


def letters_view(store: Snapshot, with_events: bool) -> dict[str, Any]:
    """Dead letters by topic and reason over time, and the latest ones.

    Args:
        store: the store.
        with_events: whether the events themselves are told, as far as they are kept.
    """
    hours = [
        {"topic": topic, "reason": reason, "hour": hour, "n": n}
        for topic, reason, hour, n in store.rows("SELECT * FROM letter_hour ORDER BY hour, topic, reason")
    ]
    latest = []
    for ts, packed in store.rows(f"SELECT ts, record FROM letter ORDER BY ts DESC, id DESC LIMIT {SHOWN}"):
        letter = msgspec.json.decode(unpack_record(packed)) | {"ts": ts}
        letter["bytes"] = letter["bytes"][:TEXT] if with_events else None
        latest.append(letter)
    return {"hours": hours, "latest": latest, "with_events": with_events}


def store_view(store: Snapshot, progress: Progress, disk: int, strange: int) -> dict[str, Any]:
    """How far the page has read, what it holds, and what it had to leave out."""
    pages, free, size = (store.one(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size"))
    used = 0 if pages is None or free is None or size is None else (pages[0] - free[0]) * size[0]
    lost = {name.partition(":")[2]: n for name, n in store.rows("SELECT * FROM fact WHERE name LIKE 'lost:%'")}
    dropped = store.one("SELECT value FROM fact WHERE name = 'dropped'")
    positions = [
        {"topic": topic, "partition": number, "next": at}
        for topic, number, at in store.rows("SELECT * FROM position ORDER BY topic, number")
    ]
    sizes = [
        {"size": size, "windows": n, "since": since, "until": until}
        for size, n, since, until in store.rows(
            "SELECT size, COUNT(*), MIN(start), MAX(start) FROM window JOIN series ON window.series = series.id "
            "GROUP BY size ORDER BY size"
        )
    ]
    return {
        "reading": msgspec.to_builtins(progress),
        "used": used,
        "disk": disk,
        "dropped": 0 if dropped is None else dropped[0],
        "lost": lost,
        "strange": strange,
        "positions": positions,
        "windows": sizes,
    }
