"""Which version and range a view is of, and when the fleet's rows are made anew."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from stream_monitor.dashboard.fleet import Fleet
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.dashboard.windows import choose
from stream_monitor.events.contracts import Health, Metric
from stream_monitor.kafka.follower import FollowedRecord
from tests.dashboard.conftest import DISK

Kind = Literal["traffic", "performance", "observation", "label", "feedback", "intake"]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 20_000 * DAY


class Filler:
    """A store that is filled window by window."""

    def __init__(self, path: Path) -> None:
        self.store, self.snapshot, self.offset = Store(path, DISK, "a"), Snapshot(path), 0

    def put(self, role: str, key: str, record: msgspec.Struct) -> None:
        self.store.apply([FollowedRecord(role, 0, self.offset, T0, key.encode(), msgspec.json.encode(record))], {})
        self.offset += 1

    def window(
        self, start: int, size: int = MINUTE, version: str = "1", kind: Kind = "traffic", count: int = 5
    ) -> None:
        window = Metric(model="m", version=version, segment="all", window_start=start, window_end=start + size,
                        kind=kind, revision=0, final=True, count=count)  # fmt: skip
        self.put("metrics", "m", window)

    def health(self, end: int, model: str = "m") -> None:
        self.put("health", model, Health(model=model, window_start=end - MINUTE, window_end=end, count=5))


@pytest.fixture
def filler(tmp_path: Path) -> Iterator[Filler]:
    made = Filler(tmp_path / "page.sqlite")
    yield made
    made.snapshot.close()
    made.store.close()


def chosen(filler: Filler) -> str:
    with filler.snapshot:
        return choose(filler.snapshot, "m").version


def test_the_version_is_the_one_that_answers_now_though_the_day_has_seen_more_of_another(filler: Filler) -> None:
    filler.window(T0, DAY, "1", count=90_000)
    filler.window(T0, DAY, "2", count=500)
    for minute in range(60):
        filler.window(T0 + minute * MINUTE, version="1" if minute < 50 else "2", count=1_000)
        filler.window(T0 + minute * MINUTE, version="1", kind="label")
    assert chosen(filler) == "2"


def test_of_two_versions_that_answer_now_the_one_that_answers_more_is_shown(filler: Filler) -> None:
    for minute in range(60):
        filler.window(T0 + minute * MINUTE, version="1", count=950 if minute < 50 else 50)
        if minute >= 50:
            filler.window(T0 + minute * MINUTE, version="2", count=950)
    assert chosen(filler) == "2"


def test_a_row_is_made_anew_when_windows_come_after_their_health(filler: Filler) -> None:
    """The reader begins with `health`: the rows of a start are made before any window is there."""
    fleet = Fleet(filler.store.models)
    filler.health(T0 + 2 * MINUTE)
    courses = []
    for minute in range(3):
        with filler.snapshot:
            courses.append(fleet.view(filler.snapshot)["models"][0]["course"])
        filler.window(T0 + minute * MINUTE)
    assert courses[0] is None and courses[1]["count"] == [5] and courses[2]["count"] == [5, 5]


def test_labels_of_a_far_later_time_make_no_course_long(filler: Filler) -> None:
    filler.window(T0)
    filler.window(T0 + 10 * 365 * DAY, kind="label")
    filler.health(T0 + MINUTE)
    with filler.snapshot:
        assert Fleet().view(filler.snapshot)["models"][0]["course"]["count"] == [5]


def test_many_threads_get_the_fleet_while_models_come_and_go(filler: Filler) -> None:
    fleet, rng = Fleet(filler.store.models), random.Random(1)

    def read(_: int) -> int:
        snapshot = Snapshot(filler.store.path)
        try:
            with snapshot:
                return len(fleet.view(snapshot)["models"])
        finally:
            snapshot.close()

    with ThreadPoolExecutor(8) as pool:
        found = pool.map(read, range(400))
        for _ in range(200):
            model = f"m{rng.randrange(20)}"
            if rng.random() < 0.5:
                filler.health(T0, model)
            else:
                filler.store.apply([FollowedRecord("health", 0, filler.offset, T0, model.encode(), None)], {})
                filler.offset += 1
        assert all(n <= 20 for n in found)
