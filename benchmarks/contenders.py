"""The contenders of `make bench`, one a process: each reads COUNT events of a topic and prints its rate as JSON."""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

import orjson

from benchmarks.memory import peak_rss_mb
from stream_monitor.config.settings import Settings, parse

CONSUME = 5_000


def settings(bootstrap: str, app: str) -> Settings:
    return parse({"app": app, "kafka": {"bootstrap_servers": bootstrap}, "topics": {"partitions": 4}})


def describe(rules: Settings, count: int) -> dict[str, Any]:
    """The real stage in the real loop: join, ids, transactions; a group of its own reads the topic from its start."""
    from stream_monitor.kafka.confluent import KafkaClient
    from stream_monitor.kafka.topics import ready
    from stream_monitor.service.registry import loop_of
    from stream_monitor.service.run import tune_collector

    topology = ready(rules)
    name = f"{rules.app}-{uuid.uuid4().hex[:6]}"
    kept = {role: rules.topic(role) for role in ("predictions", "labels", "feedback", "observations")}
    own = parse({
        "app": name, "kafka": {"bootstrap_servers": rules.kafka.bootstrap_servers}, "baseline": {"first": 500},
        "time": {"allowed_lateness": "1s", "max_skew": "1s"}, "topics": {"partitions": 4, "names": kept},
    })  # fmt: skip
    topology = ready(own)
    loop: Any = loop_of("describe", KafkaClient(own, "describe"), own, topology, time.monotonic)
    seen, commits = 0, list[tuple[int, float]]()

    def listen(report: Any) -> None:
        nonlocal seen
        seen += report.messages.get("predictions", 0)
        commits.append((seen, time.perf_counter()))

    loop.on_commit = listen
    judge_client = KafkaClient(own, "judge")
    warm: Any = loop_of("judge", judge_client, own, topology, time.monotonic)
    # The first third is not timed: there the judge learns the edges, which any run older than a minute has.
    while seen < count // 3:
        loop.tick(0.05)
    while not warm.ready or any(lag > 0 for lag in lags(warm).values()):
        warm.tick(0.1)
    warm.commit()
    while not heard(loop.stage.catalog, warm.stage):
        for value in loop.client.table("baselines"):
            loop.on_table(value)
    tune_collector()
    commits.clear()
    while seen < count:
        loop.tick()
    # Whole commits only, and the first is due at once, for no tick came while the judge learned; the last one waits
    # for a second in which nothing comes, which is no work.
    (first, started), (last, ended) = commits[0], commits[-2]
    return {"events_per_s": (last - first) / (ended - started)}


def heard(catalog: Any, judge: Any) -> bool:
    """Whether describe knows the edges of all models, which the judge has made."""
    models = [model for assignment in judge.assignments.values() for model in assignment.judge.models.values()]
    edges = {model.state.model: model.timelines["input"].state.edges.keys() for model in models}
    if not edges or not all(edges.values()):
        raise SystemExit("the untimed part is too short: the judge has no edges of some model yet; raise --events")
    return all(known <= catalog.of(name, "input").edges.keys() for name, known in edges.items())


def lags(loop: Any) -> dict[Any, int]:
    ends, positions = loop.client.ends(loop.owned), loop.client.positions(loop.owned)
    return {partition: ends[partition] - positions[partition] for partition in ends}


def judge(rules: Settings, count: int) -> dict[str, Any]:
    """The judge alone on deltas, a pane a second: no Kafka in the way."""
    from benchmarks.judge import again_measure_panes_per_s, measure_panes_per_s

    return {"measure_panes_per_s": measure_panes_per_s(), "again_per_s": again_measure_panes_per_s()}


def _consumer(rules: Settings) -> Any:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    from stream_monitor.kafka.client_config import FETCH, common

    options = {"group.id": uuid.uuid4().hex, "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer(common(rules, "bench") | FETCH | options)
    topic = rules.topic("predictions")
    numbers = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
    return consumer


def read_json(rules: Settings, count: int) -> dict[str, Any]:
    """Consume, `orjson.loads`, drop."""
    consumer, seen = _consumer(rules), 0
    first = consumer.consume(1, 10)
    started = time.perf_counter()
    while seen < count - len(first):
        for message in consumer.consume(CONSUME, 0.2):
            orjson.loads(message.value())
            seen += 1
    return {"events_per_s": seen / (time.perf_counter() - started)}


def river(rules: Settings, count: int) -> dict[str, Any]:
    """confluent-kafka, orjson and River."""
    from benchmarks.river_monitor import RiverMonitor

    consumer, seen, monitor = _consumer(rules), 0, RiverMonitor()
    consumer.consume(1, 10)
    started = time.perf_counter()
    while seen < count:
        for message in consumer.consume(CONSUME, 0.2):
            monitor.update(orjson.loads(message.value())["features"])
            seen += 1
    return {"events_per_s": seen / (time.perf_counter() - started)}


CONTENDERS = {"describe": describe, "orjson": read_json, "river": river, "judge": judge}


def main() -> None:
    name, bootstrap, app, count = sys.argv[1:]
    result = CONTENDERS[name](settings(bootstrap, app), int(count))
    result["rss_mb"] = peak_rss_mb()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
