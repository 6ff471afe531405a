from __future__ import annotations

import gzip
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stream_monitor.dashboard.answers import Answers, answer_of
from stream_monitor.dashboard.server import Page
from stream_monitor.dashboard.store import Snapshot, Store
from tests.dashboard import stories
from tests.dashboard.conftest import serving
from tests.patience import until


def test_an_answer_holds_for_its_state_alone() -> None:
    held = Answers()
    held.put("fleet", answer_of("1", b"a" * 5_000))
    found = held.get("fleet", "1")
    assert found is not None and found.packed is not None and gzip.decompress(found.packed) == found.body
    assert held.get("fleet", "2") is None and held.get("models", "1") is None
    held.put("fleet", answer_of("2", b"a" * 5_000))
    again = held.get("fleet", "2")
    assert held.get("fleet", "1") is None and again is not None and again.mark == found.mark
    assert answer_of("2", b"b" * 5_000).mark != found.mark and answer_of("2", b"a").packed is None


def test_answers_are_held_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_monitor.dashboard.answers.MOST_BYTES", 100_000)
    held = Answers()
    for i in range(300):
        held.put(f"models/{i}", answer_of("1", bytes(range(256)) * 40))
    assert held.get("models/0", "1") is None and held.get("models/299", "1") is not None
    assert sum(held.get(f"models/{i}", "1") is not None for i in range(300)) < 10
    held.put("fleet", answer_of("1", b"x" * 200_000))
    assert held.get("fleet", "1") is None


def test_pages_that_ask_at_once_wait_for_one_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = list[Mapping[str, str]](), list[str]()

    def count(app: Any) -> Any:
        async def counted(scope: Any, receive: Any, send: Any) -> None:
            asked.append(scope["type"])
            await app(scope, receive, send)

        return counted

    def slow(page: Page, snapshot: Snapshot, values: Mapping[str, str]) -> Any:
        made.append(values)
        until(lambda: len(asked) == 8, "the eight requests")
        return ["fraud"]

    monkeypatch.setattr(Page, "models", slow)
    with serving(stories.settings(), store, count) as url, ThreadPoolExecutor(8) as pool:

        def read(_: int) -> bytes:
            with urllib.request.urlopen(f"{url}/api/v1/models") as answer:
                found: bytes = answer.read()
            return found

        assert set(pool.map(read, range(8))) == {b'["fraud"]'}
    assert len(made) == 1
