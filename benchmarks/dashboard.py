"""`python -m benchmarks.dashboard`: the page with a thousand models, as one JSON object.

It stores windows of 20 measures of each model, as the reader does, and then asks for every view, as a browser does: the
median of the seconds and of the bytes of each. Times depend on the machine. Compare two runs on one machine only.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson

from stream_monitor.dashboard.fleet import Fleet
from stream_monitor.dashboard.incidents import incidents_view
from stream_monitor.dashboard.models import measure_view, model_view, performance_view
from stream_monitor.dashboard.reduce import reduction
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.dashboard.windows import choose
from stream_monitor.events.contracts import Health, MeasureSummary, Metric
from stream_monitor.kafka.follower import FollowedRecord

MINUTE = 60_000
T0 = 1_700_000_000_000 - 1_700_000_000_000 % (60 * MINUTE)
BATCH = 2_000
STATIC = Path(__file__).parent.parent / "stream_monitor" / "dashboard" / "static"


def summary(rng: random.Random) -> MeasureSummary:
    """A measure of a window, with all that the judge says of it."""
    mean = rng.gauss(100, 15)
    cuts = sorted(rng.gauss(mean, 30) for _ in range(9))
    names = ("min", "p05", "p25", "p50", "p75", "p95", "p99", "p999", "max")
    figures: dict[str, Any] = {name: float(f"{x:.6g}") for name, x in zip(names, cuts, strict=True)}
    tests = {test: float(f"{abs(rng.gauss(0, 0.03)):.6g}") for test in ("psi", "ks", "missing", "type_change")}
    shape = [rng.randrange(60) for _ in range(16)]
    return MeasureSummary(
        group="input", n=sum(shape), missing=rng.randrange(5), mean=mean, std=30.0, sum=mean * sum(shape), shape=shape,
        tests=tests, times=float(f"{max(tests.values()) / 0.1:.6g}"), courses={"cusum": 0.25}, **figures,
    )  # fmt: skip


def records(models: int, measures: int, windows: int) -> Iterator[tuple[str, bytes, bytes]]:
    """(role, key, value) of traffic, label and performance windows and of health, minute by minute."""
    rng = random.Random(7)
    # a measure's figures come from a pool: making them would cost more than storing them
    pool = [summary(rng) for _ in range(2_000)]
    for window in range(windows):
        start = T0 + window * MINUTE
        for model in range(models):
            name = f"model-{model:04}"
            chosen = {f"feature_{i:02}": pool[rng.randrange(len(pool))] for i in range(measures)}
            about: dict[str, Any] = {"model": name, "version": "1", "segment": "all", "window_start": start,
                     "window_end": start + MINUTE, "revision": 0, "final": True, "count": 600}  # fmt: skip
            yield "metrics", name.encode(), msgspec.json.encode(Metric(kind="traffic", measures=chosen, **about))
            outcome = {"error": MeasureSummary(group="outcome", n=300, mean=0.1, sum=30.0)}
            known = Metric(kind="performance", measures=outcome, labelled=300, accuracy=0.9, **about)
            yield "metrics", name.encode(), msgspec.json.encode(known)
            health = Health(model=name, window_start=start, window_end=start + MINUTE, count=600, measures=measures)
            yield "health", name.encode(), msgspec.json.encode(health)


def fill(store: Store, found: Iterator[tuple[str, bytes, bytes]]) -> dict[str, float]:
    """Store the records in batches; returns records, bytes and CPU seconds of storing alone."""
    offset, batch, spent, size = 0, list[FollowedRecord](), 0.0, 0

    def put() -> None:
        nonlocal spent
        began = time.process_time()
        store.apply(batch, {("metrics", 0): offset})
        spent += time.process_time() - began
        batch.clear()

    for role, key, value in found:
        batch.append(FollowedRecord(role, 0, offset, T0, key, value))
        offset, size = offset + 1, size + len(value)
        if len(batch) == BATCH:
            put()
    put()
    return {"records": offset, "bytes": size, "cpu_s": spent}


def timed(view: Callable[[], Any], times: int = 5) -> dict[str, float]:
    """Median milliseconds of a view and its JSON, and the bytes that are sent."""
    spent, body = list[float](), b""
    for _ in range(times):
        began = time.perf_counter()
        body = orjson.dumps(view())
        spent.append(time.perf_counter() - began)
    return {"ms": round(1_000 * statistics.median(spent), 2), "kB": round(len(gzip.compress(body, 5)) / 1_000, 1)}


def views(store: Store) -> dict[str, dict[str, float]]:
    """Every view, of one model out of all."""
    snapshot, fleet = Snapshot(store.path), Fleet()
    found: dict[str, dict[str, float]] = {}
    with snapshot:
        model = "model-0007"
        chosen = choose(snapshot, model, span=0)
        outcomes = choose(snapshot, model, span=0, performance=True)
        found["fleet, first"] = timed(lambda: Fleet().view(snapshot), 3)
        fleet.view(snapshot)
        found["fleet"] = timed(lambda: fleet.view(snapshot))
        found["model"] = timed(lambda: model_view(snapshot, chosen))
        found["measure"] = timed(lambda: measure_view(snapshot, chosen, "feature_03"))
        found["performance"] = timed(lambda: performance_view(snapshot, outcomes))
        found["reduce"] = timed(lambda: reduction(model_view(snapshot, chosen)))
        found["incidents"] = timed(lambda: incidents_view(snapshot))
    snapshot.close()
    return found


def shipped() -> dict[str, float]:
    """The page's own files."""
    files = [path.read_bytes() for path in STATIC.iterdir() if path.name != "login.html"]
    return {"files": len(files), "kB": round(sum(len(gzip.compress(data, 5)) for data in files) / 1_000, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=1_000)
    parser.add_argument("--measures", type=int, default=20)
    parser.add_argument("--windows", type=int, default=60, help="of a minute, of each model")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "page.sqlite", 10**11, "bench")
        stored = fill(store, records(given.models, given.measures, given.windows))
        windows = given.models * given.windows
        told = {
            "models": given.models,
            "measures": given.measures,
            "windows": windows,
            "store": {
                "records_per_cpu_s": round(stored["records"] / stored["cpu_s"]),
                "bytes_of_json_a_window": round(stored["bytes"] / windows),
                "bytes_in_the_file_a_window": round(store.used() / windows),
            },
            "views": views(store),
            "page": shipped(),
            "rss_MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000),
        }
        store.close()
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
