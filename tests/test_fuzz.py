"""Bytes that nobody meant to send, on every input topic: nothing stops, and every prediction is counted or told."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.settings import ROLES_IN
from stream_monitor.file_replay import Replay
from stream_monitor.stages.contract import Output
from tests.effort import examples
from tests.streams import T0, quick_settings

Mutate = Callable[[random.Random, bytes], bytes]


def event_of(role: str, rng: random.Random, i: int) -> bytes:
    key = {"id": f"e{rng.randrange(40)}", "ts": T0 + i * 20, "model": rng.choice(["a", "b"])}
    bodies: dict[str, dict[str, object]] = {
        "predictions": {"features": {"x": rng.gauss(0, 1), "c": "é☃"[i % 2], "l": [1, 2]}, "prediction": i % 3 == 0},
        "labels": {"label": rng.choice([True, "x", 1.5]), "labeler": rng.choice([None, "l"])},
        "feedback": {"signals": {"click": 1, "redo": 0.5}},
        "observations": {"source": "pod", "measures": {"memory_mb": rng.random()}},
    }
    return json.dumps(key | bodies[role], ensure_ascii=bool(i % 2)).encode()


def flipped(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << rng.randrange(8)]) + raw[at + 1 :]


def spliced(rng: random.Random, raw: bytes) -> bytes:
    first, last = sorted((rng.randrange(len(raw)), rng.randrange(len(raw))))
    return raw[:first] + raw[last:] + raw[first:last]


def put_in(rng: random.Random, raw: bytes) -> bytes:
    pieces = [b"\n", b"\x00", b'"', b"\\u0000", b"\\ud800", b"1e999", b"-", b"null", b"{}", b"[[[[", b",", b"9" * 40]
    at = rng.randrange(len(raw))
    return raw[:at] + rng.choice(pieces) + raw[at:]


MUTATIONS: list[Mutate] = [
    lambda rng, raw: raw,
    lambda rng, raw: raw,
    flipped,
    spliced,
    put_in,
    lambda rng, raw: raw[: rng.randrange(len(raw))],
    lambda rng, raw: rng.randbytes(rng.randrange(60)),
]


@examples(30)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_whatever_bytes_come_every_prediction_is_counted_or_a_dead_letter(seed: int, batch: int) -> None:
    rng = random.Random(seed)
    out: dict[str, list[bytes]] = defaultdict(list)

    def publish(output: Output) -> None:
        out[output.role].append(output.value)

    run = Replay(quick_settings(segments=[["c"]]), publish)
    sent: Counter[str] = Counter()
    stream = []
    for i in range(400):
        role = rng.choice(["predictions", "predictions", *ROLES_IN])
        stream.append((role, rng.choice(MUTATIONS)(rng, event_of(role, rng, i))))
        sent[role] += 1
    for at in range(0, len(stream), batch):
        run.feed(stream[at : at + batch])
    run.finish()
    traffic = [m for m in map(json.loads, out["metrics"]) if m["kind"] == "traffic" and m["segment"] == "all"]
    last = {(m["model"], m["version"], m["window_start"]): m for m in traffic}
    counted = sum(m.get(name, 0) for m in last.values() for name in ("count", "duplicates", "late", "after_idle"))
    letters = Counter[str]()
    for letter in map(json.loads, out["dead-letters"]):
        letters[letter["topic"].rpartition(".")[2]] += letter.get("count", 1)
    assert counted + letters["predictions"] == sent["predictions"]
