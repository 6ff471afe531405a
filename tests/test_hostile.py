"""10,000 malformed events of 20 kinds between good ones: every good one counted, every bad one accounted for."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable

from stream_monitor.file_replay import replay
from stream_monitor.stages.contract import Output
from tests.streams import T0, quick_settings

KINDS = 20
EACH = 500


def good(at: int, **changes: object) -> dict[str, object]:
    event = {
        "id": f"g{at}",
        "model": "m",
        "ts": T0 + at,
        "features": {"x": at % 7, "c": "abc"[at % 3]},
        "prediction": True,
    }
    return event | changes


def raw(event: object) -> bytes:
    return json.dumps(event).encode()


BAD: dict[str, Callable[[int], bytes]] = {
    "not json": lambda i: b"{oops",
    "half an event": lambda i: raw(good(i))[:40],
    "an array": lambda i: b"[1, 2]",
    "no id": lambda i: raw({k: v for k, v in good(i).items() if k != "id"}),
    "empty id": lambda i: raw(good(i, id="")),
    "id a number": lambda i: raw(good(i, id=7)),
    "id of 300 characters": lambda i: raw(good(i, id="x" * 300)),
    "ts a string": lambda i: raw(good(i, ts="yesterday")),
    "ts in seconds": lambda i: raw(good(i, ts=T0 // 1000)),
    "ts of 2100": lambda i: raw(good(i, ts=4_102_444_800_000)),
    "features a list": lambda i: raw(good(i, features=[1])),
    "ts NaN": lambda i: b'{"id":"n","ts":NaN,"features":{"x":%d}}' % i,
    "ts of 400 digits": lambda i: b'{"id":"h","ts":1%s,"features":{"x":%d}}' % (b"0" * 400, i),
    "ts 1e999": lambda i: b'{"id":"h","ts":1e999,"features":{"x":%d}}' % i,
    "blank": lambda i: b" ",
    "broken UTF-8": lambda i: b'{"id":"\xff\xfe","ts":1}',
    "nested 1,000 deep": lambda i: b'{"id":"d","ts":%d,"features":{"x":%s%s}}' % (T0 + i, b"[" * 5_000, b"]" * 5_000),
    "1,001 features": lambda i: raw(good(i, features={f"f{k}": 1 for k in range(1_001)})),
    "two events in one": lambda i: raw(good(i)) + b"\n" + raw(good(i)),
    "too large": lambda i: raw(good(i, features={"x": "y" * 1_000_001})) if i % 50 == 0 else b"null",
}


def test_every_event_is_counted_or_a_dead_letter_with_its_reason() -> None:
    assert len(BAD) == KINDS
    stream = [raw(good(i)) for i in range(5_000)]
    stream += [make(i) for make in BAD.values() for i in range(EACH)]
    random.Random(1).shuffle(stream)
    stream.sort(key=time_of)
    out: dict[str, list[bytes]] = defaultdict(list)

    def publish(output: Output) -> None:
        out[output.role].append(output.value)

    replay(quick_settings(), [("predictions", event) for event in stream], publish)
    metrics = [json.loads(value) for value in out["metrics"]]
    traffic = [m for m in metrics if m["kind"] == "traffic" and m["segment"] == "all"]
    counted = Counter(
        {name: sum(m.get(name, 0) for m in traffic) for name in ("count", "duplicates", "late", "after_idle")}
    )
    assert counted["count"] == 5_000
    reasons = Counter(json.loads(value)["reason"] for value in out["dead-letters"])
    assert sum(counted.values()) + sum(reasons.values()) == len(stream) == 15_000
    assert set(reasons) == {
        "not_json",
        "contract",
        "before_2000",
        "future",
        "blank",
        "too_many_features",
        "too_large",
        "too_deep",
    }
    assert reasons["future"] == reasons["too_many_features"] == EACH


def time_of(event: bytes) -> int:
    """Where an event belongs in the file: its own time where that is sane."""
    try:
        ts = json.loads(event).get("ts")
    except (ValueError, AttributeError, RecursionError):
        return T0
    return ts if isinstance(ts, int) and T0 <= ts < T0 + 10_000 else T0


def test_a_flood_of_models_is_bounded_and_still_counted() -> None:
    rules = quick_settings(caps={"models": 50})
    events = [("predictions", raw(good(i, model=f"m{i}"))) for i in range(3_000)]
    out: dict[str, list[bytes]] = defaultdict(list)

    def publish(output: Output) -> None:
        out[output.role].append(output.value)

    run = replay(rules, events, publish)
    metrics = [json.loads(value) for value in out["metrics"]]
    assert sum(m["count"] for m in metrics if m["kind"] == "traffic") == 3_000
    assert len({m["model"] for m in metrics}) == 51
    assert len(run.judge.assignments[0].judge.models) <= 51


def test_numbers_at_the_end_of_the_floats_do_not_stop_anything() -> None:
    values = [1e308, -1e308, 1.5e154, 5e-324, 0.0]
    events = [("predictions", raw(good(i * 100, id=f"h{i}", features={"x": values[i % 5]}))) for i in range(600)]
    out: dict[str, list[bytes]] = defaultdict(list)

    def publish(output: Output) -> None:
        out[output.role].append(output.value)

    replay(quick_settings(), events, publish)
    traffic = [m for m in map(json.loads, out["metrics"]) if m["kind"] == "traffic"]
    assert sum(m["count"] for m in traffic) == 600
