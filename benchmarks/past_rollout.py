"""`python -m benchmarks.past_rollout`: a rollout over 14 days of a file, predictions and labels, panes of a minute.

A tenth of the requests go to an equal candidate; labels come an hour later. `--requests` is their number an hour, and
`--pane` is `time.pane`: the time that a replay takes follows the number of panes.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

import msgspec

from stream_monitor.config.settings import parse
from stream_monitor.file_replay import replay
from stream_monitor.rollouts.past import PastRollout

HOUR, HOURS = 3_600_000, 14 * 24
START = 1_700_000_000_000
PLAN = b"""
rollout: equal
model: fraud
candidate: "42"
primary: "41"
steps: external
guards: [{measure: error, margin: 5%}, {measure: null_answer, margin: 0.5pp}, {measure: latency_ms.p99, margin: 20%}]
max: 30d
settle: 6h
"""


def events(requests: int) -> Iterator[tuple[str, bytes]]:
    """(role, event) in order of event time."""
    rng, encode, late = random.Random(1), msgspec.json.Encoder().encode, list[tuple[int, bytes]]()
    at = 0
    for number in range(requests * HOURS):
        ts = START + number * HOUR // requests
        answer = rng.random() < 0.3
        event = {"id": f"r{number}", "model": "fraud", "version": "42" if rng.random() < 0.1 else "41", "ts": ts,
                 "prediction": answer, "latency_ms": round(rng.lognormvariate(3, 0.5), 2),
                 "features": {"amount": round(rng.gauss(10, 2), 3), "country": rng.choice("ABC")}}  # fmt: skip
        yield "predictions", encode(event)
        late.append(
            (ts + HOUR, encode({"id": f"r{number}", "label": answer != (rng.random() < 0.05), "ts": ts + HOUR}))
        )
        while late[at][0] <= ts:
            yield "labels", late[at][1]
            at += 1
        if at > 100_000:
            del late[:at]
            at = 0
    yield from (("labels", raw) for _, raw in late[at:])


def main() -> None:
    """Print how long it took, with the rollout and without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--pane", default="1m")
    wanted = parser.parse_args()
    settings, made = parse({"time": {"pane": wanted.pane, "windows": ["1h"]}}), list(events(wanted.requests))
    for name, past in (("without a rollout", None), ("with it", PastRollout(PLAN, "rollout"))):
        started, used = time.perf_counter(), time.process_time()
        replay(settings, made, lambda output: None, past=past)
        took, cpu = time.perf_counter() - started, time.process_time() - used
        print(f"{len(made):,} events of 14 days {name}: {took:.1f} s, {cpu:.1f} s of CPU", flush=True)
        if past is not None:
            verdict = past.verdict()
            print(
                f"{verdict.verdict} after {(verdict.ends - verdict.begins) / HOUR:.1f} h, {verdict.exposed:,} exposed"
            )


if __name__ == "__main__":
    main()
