"""A seeded stream that has something for every view of the page, and the outputs of a replay of it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

from stream_monitor.config.settings import Settings, parse
from stream_monitor.dashboard.reader import READ
from stream_monitor.file_replay import replay
from stream_monitor.kafka.follower import FollowedRecord
from stream_monitor.stages.contract import Output
from tests.rollouts.routed import PLAN, RoutedReplay, Version

MINUTE = 60_000
T0 = 1_700_000_000_000 - 1_700_000_000_000 % 3_600_000
ARRIVED = T0 + 86_400_000
"""When Kafka got the records, and the time of the page: the gates of a rollout close on old decisions."""
HOSTILE = '<img src=x onerror="document.title=1"></a>\u202e{{7*7}}'
"""A name that some page would take for markup, for a template, for a path, or for a direction of writing."""
APP = "page"


def settings(**sections: Any) -> Settings:
    """Panes of a minute, windows of ten minutes and an hour."""
    return parse(
        {
            "app": APP,
            "segments": [["country"]],
            "time": {"pane": "1m", "windows": ["10m", "1h"], "allowed_lateness": "1m"},
            "join": {"grain": "10m", "label_horizon": "1h", "revisions": ["0s", "20m"]},
            "baseline": {"first": 1_000},
            "detection": {"limits": ["latency_ms.p95 > 300"]},
            **sections,
        }
    )


def events(hours: int = 8) -> Iterator[tuple[str, bytes]]:
    """Ten predictions a minute and model, with labels, clicks and the memory of their server.

    After 60 % of the time the amounts of country US rise and `fraud` errs more often; `ranking` gets version 2 and
    slow. One model has a hostile name. One event cannot be read.
    """
    rng, found = random.Random(5), list[tuple[int, int, str, dict[str, Any]]]()
    minutes = 60 * hours
    for minute in range(minutes):
        late = minute > 0.6 * minutes
        for i in range(10):
            for model in ("fraud", "ranking", HOSTILE)[: 3 if i % 5 == 0 else 2]:
                ts = T0 + minute * MINUTE + 6_000 * i
                country, key = rng.choice(["DE", "DE", "FR", "US"]), f"{model}-{minute}-{i}"
                amount = rng.lognormvariate(3, 1) * (4 if late and country == "US" else 1)
                features = {"amount": amount, "age": rng.randint(18, 90), "country": country, HOSTILE: country * 2}
                features["amount_again"] = 2 * amount + 1
                truth = rng.random() < 0.3
                answer = truth if rng.random() < (0.6 if late and model == "fraud" else 0.95) else not truth
                event = {"id": key, "ts": ts, "model": model, "features": features, "prediction": answer}
                event["version"] = "2" if model == "ranking" and late else "1"
                event["latency_ms"] = rng.expovariate(1 / 40) * (10 if late and model == "ranking" else 1)
                if model == HOSTILE:
                    event |= {"prediction": f"{HOSTILE}{int(answer)}"}
                found.append((ts, 0, "predictions", event))
                if model != HOSTILE:
                    found.append((ts + MINUTE, 1, "labels", {"id": key, "ts": ts + MINUTE, "label": truth}))
                    click = {"id": key, "ts": ts + MINUTE, "signals": {"click": float(rng.random() < 0.2)}}
                    found.append((ts + MINUTE, 2, "feedback", click))
        memory = {"memory_mb": rng.gauss(4_000, 50), HOSTILE: 1.0}
        server = {"ts": T0 + minute * MINUTE, "source": "gpu-1", "model": "fraud", "measures": memory}
        found.append((T0 + minute * MINUTE, 3, "observations", server))
    for _, _, role, event in sorted(found, key=lambda item: item[:3]):
        yield role, json.dumps(event).encode()
    yield "predictions", b'{"id": "<script>document.title=2</script>", "ts": "never"}'


@cache
def outputs() -> tuple[Output, ...]:
    """All that a replay of the stream publishes."""
    found: list[Output] = []
    replay(settings(), events(), found.append)
    return tuple(found)


@cache
def decided() -> tuple[Output, ...]:
    """The decisions about two rollouts: one of a worse candidate, with a hostile reason, and one that goes on."""
    run = RoutedReplay().run(30, Version(), Version())
    run.order("start", PLAN, reason=HOSTILE)
    while run.decided[-1].decision != "rolled_back":
        run.run(5, Version(), Version(error=0.4))
    run.order("start", PLAN.replace("fraud-42", "fraud-43").replace('"42"', '"43"'), rollout="fraud-43")
    run.run(60, Version(), Version())
    return tuple(output for output in run.outputs if output.role == "decisions")


@cache
def records() -> tuple[FollowedRecord, ...]:
    """The outputs as records of topics with three partitions; the end of the replay forgets no model here."""
    next_offset: dict[tuple[str, int], int] = {}
    found = []
    for output in (*outputs(), *decided()):
        if output.role in READ and not output.tombstone:
            key = output.key or b""
            number = sum(key) % 3
            offset = next_offset.get((output.role, number), 0)
            next_offset[output.role, number] = offset + 1
            found.append(FollowedRecord(output.role, number, offset, ARRIVED, key, output.value))
    return tuple(found)
