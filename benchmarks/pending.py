"""The pending predictions at scale: `python -m benchmarks.pending [--rows 10000000] [--json]`.

Ids are random. Labels come for predictions of any age, so joins pay for the memory's latency. `worst` is the
longest call on one batch of 50,000. Memory is counted from before the store is made.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from stream_monitor.describe.join.pending.rows import U32, U64, LabelRows, PredictionRows
from stream_monitor.describe.join.pending.store import PendingStore

BATCH = 50_000
HORIZON = 1 << 40


class SameCodes:
    """A code book in which every code is its own name."""

    def export(self, kind: str, codes: Sequence[int]) -> list[Any]:
        return list(codes)

    def import_(self, kind: str, values: Sequence[Any]) -> U32:
        return np.array(values, np.uint32)


def make_store() -> PendingStore:
    return PendingStore(HORIZON, HORIZON, lambda keys: keys)


def predictions(rng: np.random.Generator, start: int, count: int) -> PredictionRows:
    return PredictionRows(
        hash=rng.integers(0, 1 << 64, count, np.uint64), check=rng.integers(0, 1 << 32, count, np.uint32),
        ts=np.arange(start, start + count), key=rng.integers(0, 20, count, np.uint32),
        answer=rng.integers(0, 200, count, np.uint32), value=rng.random(count),
        score=rng.random(count, np.float32),
    )  # fmt: skip


def labels(rng: np.random.Generator, hashes: U64, checks: U32, ts: int) -> LabelRows:
    count = len(hashes)
    return LabelRows(
        hash=hashes, check=checks, ts=np.full(count, ts), model=np.zeros(count, np.uint32),
        value=rng.integers(0, 2, count).astype(float), categorical=np.ones(count, np.bool_),
        labeler=np.zeros(count, np.uint32), fingerprint=rng.integers(2, 1 << 32, count, np.uint32),
    )  # fmt: skip


def rss_bytes() -> int:
    """Resident memory of this process now, 0 where the system does not say."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0


def timed(work: Callable[[], Any], seconds: list[float]) -> Any:
    start = time.perf_counter()
    result = work()
    seconds.append(time.perf_counter() - start)
    return result


def run(rows: int) -> dict[str, float]:
    """Figures of a store that is filled with `rows` predictions, then labelled and swept."""
    rng = np.random.default_rng(1)
    before, store = rss_bytes(), make_store()
    inserts: list[float] = []
    known = []
    for start in range(0, rows, BATCH):
        batch = predictions(rng, start, min(BATCH, rows - start))
        watermark = np.full(len(batch), start)
        timed(partial(store.add_predictions, batch, watermark), inserts)
        timed(store.settle, inserts)
        some = slice(None, None, max(1, rows // 1_000_000))
        known.append((batch.hash[some].copy(), batch.check[some].copy()))
    figures = {"rows": float(rows), "insert_ns": sum(inserts) / rows * 1e9}
    figures |= {"insert_worst_ms": max(inserts) * 1e3, "rss_mb": (rss_bytes() - before) / 1e6}
    figures |= _join(store, rng, known, rows)
    return figures | _sweep(store, rows) | _log(rng, min(rows, 1_000_000))


def _join(store: PendingStore, rng: np.random.Generator, known: list[Any], now: int) -> dict[str, float]:
    hashes, checks = (np.concatenate(column) for column in zip(*known, strict=True))
    order = rng.permutation(len(hashes))
    seconds: list[float] = []
    events = 0
    for start in range(0, len(order), BATCH):
        at = order[start : start + BATCH]
        batch = labels(rng, hashes[at], checks[at], now)
        events += len(timed(partial(store.add_labels, batch), seconds))
        timed(store.settle, seconds)
    return {"join_ns": sum(seconds) / events * 1e9, "join_worst_ms": max(seconds) * 1e3}


def _sweep(store: PendingStore, rows: int) -> dict[str, float]:
    seconds: list[float] = []
    watermark = rows // 2 + HORIZON
    gone = 0
    while dropped := timed(lambda: store.sweep(watermark, watermark), seconds):
        gone += dropped
    settle: list[float] = []
    timed(store.settle, settle)
    return {"sweep_ns": sum(seconds) / max(gone, 1) * 1e9, "sweep_worst_ms": max(seconds + settle) * 1e3}


def _log(rng: np.random.Generator, rows: int) -> dict[str, float]:
    store, payloads, book = make_store(), list[bytes](), SameCodes()
    write: list[float] = []
    read: list[float] = []
    for start in range(0, rows, BATCH):
        store.add_predictions(predictions(rng, start, BATCH), np.full(BATCH, start))
        payloads += timed(lambda: store.changes(book), write)
        store.settle()
    timed(lambda: make_store().restore(enumerate(payloads), book), read)
    return {
        "log_write_ns": sum(write) / rows * 1e9, "log_bytes": sum(map(len, payloads)) / rows,
        "restore_ns": sum(read) / rows * 1e9,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--json", action="store_true", help="figures for machines")
    arguments = parser.parse_args()
    figures = run(arguments.rows)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        rate = f"{1000 / value:8.2f} M/s" if name.endswith("_ns") else ""
        print(f"{name:16} {value:14,.1f} {rate}")


if __name__ == "__main__":
    main()
