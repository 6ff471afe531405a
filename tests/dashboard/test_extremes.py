"""Numbers and texts at the ends of what there is, from the events to the browser."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stream_monitor.dashboard.store import Store
from stream_monitor.file_replay import replay
from stream_monitor.kafka.follower import FollowedRecord
from stream_monitor.stages.contract import Output
from tests.dashboard import stories
from tests.dashboard.conftest import DISK, serving
from tests.dashboard.visits import visiting


def extreme() -> Iterator[tuple[str, bytes]]:
    """Numbers at the ends of doubles, constants, long and empty texts, and letters of 64 KB."""
    rng, long = random.Random(8), "ä" * 128
    for i in range(1_500):
        features = {
            "huge": rng.choice([1e308, -1e308, 1.0]), "tiny": rng.choice([5e-324, -5e-324, 0.0]),
            "whole": 2**53 - rng.randrange(3), "still": 7, "text": rng.choice([long, "", "\u202eab", "a\nb", " "]),
            long: i, "": i % 7, "list": [1] * (i % 3), "nothing": None,
        }  # fmt: skip
        event = {"id": f"e{i}", "ts": stories.T0 + i * 2_000, "model": "m", "features": features, "prediction": long}
        yield "predictions", json.dumps(event).encode()
    yield "predictions", b'{"id": "' + b"x" * 65_536


def test_extreme_numbers_and_texts_break_nothing(chromium: Any, tmp_path: Path) -> None:
    rules, store, made = (
        stories.settings(segments=[]),
        Store(tmp_path / "page.sqlite", DISK, stories.APP),
        list[Output](),
    )
    replay(rules, extreme(), made.append)
    records = [
        FollowedRecord(o.role, 0, i, stories.T0 + i, o.key or b"", o.value)
        for i, o in enumerate(made)
        if o.role in ("metrics", "alerts", "health", "baselines", "dead-letters") and not o.tombstone
    ]
    store.apply(records, {})
    assert store.strange == 0
    names = ("huge", "tiny", "whole", "still", "text", "ä" * 128, "list", "length(text)")
    with serving(rules, store) as url:
        for size in ((1440, 980), (390, 844)):
            with visiting(chromium, viewport={"width": size[0], "height": size[1]}) as visit:
                views = [f"#/m/m/x/{quote(name, safe='')}?range=all" for name in names]
                for view in ["#/", "#/m/m?range=all", "#/m/m/reduce?range=all", "#/alerts", "#/dead-letters", *views]:
                    visit.open(f"{url}/{view}")
                    text = visit.page.inner_text("main")
                    assert not re.search(r"\bundefined\b|\bNaN\b|Infinity|\[object ", text), f"{view}: {text}"
                    assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, view
                    broken = (
                        "[...document.querySelectorAll('path')].some(p => /NaN|Infinity/.test(p.getAttribute('d')))"
                    )
                    assert not visit.page.evaluate(broken), view
                assert not visit.complaints
    store.close()
