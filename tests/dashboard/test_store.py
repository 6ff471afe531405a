"""The store: one state whatever the batches, repetitions and kills; bounds; records of strangers."""

from __future__ import annotations

import pickle
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.dashboard.packing import pack_record, unpack_record
from stream_monitor.dashboard.retention import LETTERS_KEPT
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.errors import SettingsError
from stream_monitor.events.contracts import DeadLetter, Metric
from stream_monitor.kafka.follower import FollowedRecord
from tests.dashboard import stories
from tests.dashboard.conftest import DISK, filled

Dump = dict[str, list[tuple[Any, ...]]]
WITHOUT_NUMBERS = {
    "window": "SELECT model, version, segment, kind, size, start, part, offset, final, count, times, found, record "
    "FROM window JOIN series ON series.id = window.series",
    "health": "SELECT model, offset, app, record FROM health",
    "alert": "SELECT id, model, incident, measure, severity, opened, ended, first, last, last_revision, outcome, "
    "outcome_revision, end_unread FROM alert",
    "baseline": "SELECT * FROM baseline",
    "edges": "SELECT * FROM edges",
    "letter": "SELECT topic, number, offset, ts, record FROM letter",
    "letter_hour": "SELECT * FROM letter_hour",
    "position": "SELECT * FROM position",
}
"""Every table, without the numbers that SQLite gives to rows, and without the times at which records came."""


def dump(path: Path) -> Dump:
    connection = sqlite3.connect(path)
    try:
        return {name: sorted(connection.execute(query), key=repr) for name, query in WITHOUT_NUMBERS.items()}
    finally:
        connection.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Dump:
    path = tmp_path_factory.mktemp("expected") / "page.sqlite"
    filled(path).close()
    return dump(path)


def test_the_story_has_something_in_every_table(expected: Dump) -> None:
    assert all(expected.values())


def chopped(rng: random.Random, parts: dict[tuple[str, int], list[FollowedRecord]]) -> Iterator[list[FollowedRecord]]:
    """The records of all partitions in batches: partitions in any order, records of one in theirs, some again."""
    left = dict.fromkeys(sorted(parts), 0)
    while left:
        part = rng.choice(list(left))
        end = left[part] + rng.randint(1, 400)
        yield parts[part][max(0, left[part] - rng.randint(0, 40)) : end]
        left[part] = end
        if end >= len(parts[part]):
            del left[part]


@pytest.mark.parametrize("seed", range(5))
def test_any_batches_and_repetitions_give_one_state(tmp_path: Path, expected: Dump, seed: int) -> None:
    parts: dict[tuple[str, int], list[FollowedRecord]] = {}
    for record in stories.records():
        parts.setdefault((record.role, record.number), []).append(record)
    path, rng = tmp_path / "page.sqlite", random.Random(seed)
    store = Store(path, DISK, stories.APP)
    for batch in chopped(rng, parts):
        at = {(batch[-1].role, batch[-1].number): batch[-1].offset + 1}
        store.apply(batch, at if rng.random() < 0.7 else {})
    store.apply([], {(role, number): len(found) for (role, number), found in parts.items()})
    store.close()
    assert dump(path) == expected


FILLER = """
import pickle, sys
from pathlib import Path
from stream_monitor.dashboard.store import Store
from tests.dashboard.stories import APP
store = Store(Path(sys.argv[1]), 10**9, APP)
known, records = store.positions(), pickle.loads(Path(sys.argv[2]).read_bytes())
todo = [r for r in records if r.offset >= known.get((r.role, r.number), 0)]
print("begins", len(todo), flush=True)
for at in range(0, len(todo), 50):
    batch = todo[at : at + 50]
    store.apply(batch, {(r.role, r.number): r.offset + 1 for r in batch})
    print("stored", flush=True)
store.close()
"""


def test_a_store_that_is_killed_again_and_again_ends_like_one_that_is_not(tmp_path: Path, expected: Dump) -> None:
    path, held, kills = tmp_path / "page.sqlite", tmp_path / "records", 0
    held.write_bytes(pickle.dumps(stories.records()))
    for batches in (1, 7, 20, 3, None):
        with subprocess.Popen([sys.executable, "-c", FILLER, path, held], stdout=subprocess.PIPE, text=True) as filler:
            assert filler.stdout is not None and filler.stdout.readline().startswith("begins")
            told = sum(1 for _ in islice(filler.stdout, batches))
            if batches is not None:
                assert told == batches
                filler.kill()  # somewhere within the next transaction
                kills += 1
        assert (filler.returncode == 0) == (batches is None)
    assert kills == 4
    assert dump(path) == expected


def metric(start: int, size: int = 60_000, model: str = "m") -> bytes:
    window = Metric(model=model, version="1", segment="all", window_start=start, window_end=start + size,
                    kind="traffic", revision=0, final=True, count=1)  # fmt: skip
    return msgspec.json.encode(window)


def stored(values: Sequence[bytes], role: str = "metrics", first: int = 0) -> list[FollowedRecord]:
    return [FollowedRecord(role, 0, first + i, stories.T0 + i, b"k", value) for i, value in enumerate(values)]


def count(store: Store, table: str) -> int:
    connection = sqlite3.connect(store.path)
    try:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


def test_old_windows_go_and_those_of_the_largest_size_stay_longer(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, "a")
    values = [metric(60_000 * i) for i in range(6_000)] + [metric(3_600_000 * i, 3_600_000) for i in range(6_000)]
    store.apply(stored(values), {})
    assert (count(store, "window WHERE series = 1"), count(store, "window WHERE series = 2")) == (3_001, 6_000)
    store.close()


def test_a_model_of_another_time_costs_no_other_a_window(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, "a")
    past = [metric(60_000 * i, model="replayed") for i in range(100)]
    store.apply(stored(past + [metric(stories.T0 + 60_000 * i) for i in range(12_000)]), {})
    assert (count(store, "window WHERE series = 1"), count(store, "window WHERE series = 2")) == (100, 10_001)
    store.close()


def alert(number: int, status: str) -> bytes:
    ends = {"id": f"a{number}", "status": status, "revision": int(status != "open"), "ts": number, "opened_ts": number}
    about = {"model": "m", "version": "1", "segment": "all", "measure": "x", "group": "input", "kind": "drift"}
    return msgspec.json.encode({**ends, **about, "severity": "warning", "reason": "r"})


def test_alerts_that_ended_long_ago_go_and_open_ones_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_monitor.dashboard.retention.ALERTS_KEPT", 10)
    store = Store(tmp_path / "page.sqlite", DISK, "a")
    store.apply(
        stored([alert(i, "open") for i in range(50)] + [alert(i, "resolved") for i in range(5, 50)], "alerts"), {}
    )
    store.apply(stored([metric(60_000 * i) for i in range(6_000)]), {})
    connection = sqlite3.connect(store.path)
    left = {int(name[1:]) for (name,) in connection.execute("SELECT id FROM alert")}
    connection.close()
    assert left == {*range(5), *range(40, 50)}
    store.close()


def health(arrived: int, *open_alerts: int, total: int | None = None) -> FollowedRecord:
    about = {"version": "1", "segment": "all", "measure": "x", "kind": "drift", "severity": "warning", "reason": "r"}
    named = [{**about, "id": f"a{number}", "opened_ts": number} for number in open_alerts]
    known = {"model": "m", "window_start": 0, "window_end": 60_000, "open": named}
    value = msgspec.json.encode({**known, "open_total": len(named) if total is None else total})
    return FollowedRecord("health", 0, arrived, arrived, b"m", value)


def ends(tmp_path: Path, records: Sequence[FollowedRecord]) -> dict[str, tuple[int | None, int]]:
    """By alert: when it ended, and whether that record was never read; in a store of its own."""
    (tmp_path / "page.sqlite").unlink(missing_ok=True)
    store = Store(tmp_path / "page.sqlite", DISK, "a")
    for record in records:
        store.apply([record], {})
    store.close()
    connection = sqlite3.connect(tmp_path / "page.sqlite")
    found = {
        name: (ended, unread) for name, ended, unread in connection.execute("SELECT id, ended, end_unread FROM alert")
    }
    connection.close()
    return found


def alert_at(arrived: int, number: int, status: str) -> FollowedRecord:
    return FollowedRecord("alerts", 0, arrived, arrived, b"m", alert(number, status))


def test_an_alert_whose_end_was_never_read_has_ended_where_a_newer_health_does_not_name_it(tmp_path: Path) -> None:
    first, second = alert_at(10, 1, "open"), alert_at(11, 2, "open")
    for order in ([first, second, health(20, 2)], [health(20, 2), first, second]):
        assert ends(tmp_path, order) == {"a1": (60_000, 1), "a2": (None, 0)}


def test_a_health_that_is_older_or_names_not_all_ends_nothing(tmp_path: Path) -> None:
    opened = alert_at(10, 1, "open")
    assert ends(tmp_path, [opened, health(9)]) == {"a1": (None, 0)}
    assert ends(tmp_path, [opened, health(10)]) == {"a1": (None, 0)}
    assert ends(tmp_path, [opened, health(20, 2, total=3)]) == {"a1": (None, 0)}
    assert ends(tmp_path, [opened, health(20), health(21, 1)]) == {"a1": (None, 0)}


def test_a_record_that_is_read_holds_before_what_health_lets_one_guess(tmp_path: Path) -> None:
    opened, resolved = alert_at(10, 1, "open"), alert_at(12, 1, "resolved")
    for order in ([opened, health(20), resolved], [opened, resolved, health(20)], [health(20), opened, resolved]):
        assert ends(tmp_path, order) == {"a1": (1, 0)}


def test_a_version_without_windows_is_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, "a")
    store.apply(stored([metric(0), *(metric(60_000 * (5_000 + i), 60_000) for i in range(6_000))]), {})
    other = metric(0).replace(b'"version":"1"', b'"version":"0"')
    store.apply(stored([other, *(metric(60_000 * (11_000 + i)) for i in range(6_000))], first=10_000), {})
    assert count(store, "series") == 1
    store.apply(stored([other], first=20_000), {})
    assert count(store, "window JOIN series ON series.id = window.series WHERE version = '0'") == 1
    store.close()


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    theirs, text = tmp_path / "theirs.sqlite", tmp_path / "notes.txt"
    connection = sqlite3.connect(theirs)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    text.write_text("precious " * 100)
    for path in (theirs, text):
        before = path.read_bytes()
        with pytest.raises(SettingsError, match=r"dashboard\.path"):
            Store(path, DISK, "a")
        assert path.read_bytes() == before


def test_a_path_may_hold_any_character(tmp_path: Path) -> None:
    path = tmp_path / "a#b?c%20 d.sqlite"
    store, snapshot = Store(path, DISK, "a"), Snapshot(path)
    store.apply(stored([metric(0)]), {})
    with snapshot:
        assert snapshot.one("SELECT COUNT(*) FROM window") == (1,)
    snapshot.close()
    store.close()


def test_the_store_stays_within_its_disk_and_counts_what_it_drops(tmp_path: Path) -> None:
    disk = 1_000_000
    store = Store(tmp_path / "page.sqlite", disk, "a")
    for batch in range(4):
        values = [metric(60_000 * (i % 1_500), model=f"m{batch}-{i // 1_500}") for i in range(6_000)]
        store.apply(stored(values, first=6_000 * batch), {})
        assert 0 < store.used() <= disk
    dropped = count(store, "fact WHERE name = 'dropped'")
    assert dropped == 1 and 0 < count(store, "window") < 24_000
    store.close()


def test_the_latest_dead_letters_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    store, n = Store(tmp_path / "page.sqlite", DISK, "a"), LETTERS_KEPT + 500
    letters = [
        DeadLetter(topic="t", partition=0, offset=i, reason="json", error="e", length=1, sha256="", bytes="", count=2)
        for i in range(n)
    ]
    store.apply(stored([msgspec.json.encode(letter) for letter in letters], "dead-letters"), {})
    assert count(store, "letter") == LETTERS_KEPT
    connection = sqlite3.connect(store.path)
    assert connection.execute("SELECT SUM(n) FROM letter_hour").fetchone() == (2 * n,)
    connection.close()
    store.close()


STRANGE = [b"", b"{", b"[]", b'{"model":1}', b"\xff\xfe", b'{"model":"a"}', metric(2**63 - 10**6), b"\x81\xa1a\x01"]


@pytest.mark.parametrize("role", ["metrics", "alerts", "health", "baselines", "dead-letters", "remarks"])
def test_records_of_strangers_are_left_out_and_counted(tmp_path: Path, role: str) -> None:
    store = Store(tmp_path / "page.sqlite", DISK, "a")
    store.apply(stored(STRANGE, role), {(role, 0): len(STRANGE)})
    assert store.strange >= len(STRANGE) - 1 and store.positions() == {(role, 0): len(STRANGE)}
    store.close()


def test_a_file_of_another_app_or_layout_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "page.sqlite"
    filled(path).close()
    again = Store(path, DISK, stories.APP)
    assert again.positions()
    again.close()
    other = Store(path, DISK, "other")
    assert not other.positions() and count(other, "window") == 0
    other.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    newer = Store(path, DISK, "other")
    assert count(newer, "fact") == 1
    newer.close()


def test_a_topic_that_was_made_anew_is_forgotten(tmp_path: Path) -> None:
    store = filled(tmp_path / "page.sqlite")
    revision = store.revision
    store.forget("metrics")
    assert store.revision > revision  # an answer of before does not hold any more
    assert count(store, "window") == 0 and all(role != "metrics" for role, _ in store.positions())
    store.apply(stored([metric(0)]), {("metrics", 0): 1})
    assert count(store, "window") == 1 and count(store, "alert") > 0
    store.close()


@given(st.binary(max_size=2_000))
def test_a_record_is_packed_and_unpacked(value: bytes) -> None:
    assert unpack_record(pack_record(value)) == value


def test_windows_of_the_story_take_less_than_a_kilobyte_a_dozen_measures() -> None:
    windows = [r.value for r in stories.records() if r.role == "metrics" and r.value and b'"traffic"' in r.value]
    packed = sum(len(pack_record(value)) for value in windows) / len(windows)
    assert packed < 0.35 * sum(map(len, windows)) / len(windows)
