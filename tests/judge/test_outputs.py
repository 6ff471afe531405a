"""The figures of a judge's outputs are those of the records on its topics."""

from __future__ import annotations

import json
from collections import Counter

from stream_monitor.kafka.loop import Report
from stream_monitor.stages.statistics import JudgeStatistics
from tests.schedules import Cluster, die
from tests.streams import shop
from tests.upgrade.sample import feed, rules


def test_alerts_and_windows_are_counted_once_whoever_judges() -> None:
    cluster = Cluster(rules(), 2, 1, 0.0)
    alerts, windows, times = Counter[str](), 0, set[int]()

    def listen(report: Report) -> None:
        nonlocal windows
        stats = cluster.loops["judge"][-1].stage.stats()
        assert isinstance(stats, JudgeStatistics)
        for (kind, severity, status), count in stats.alerts.items():
            alerts[f"{kind} {severity} {status}"] += count
        windows += sum(stats.closed_windows.values())
        times.update(stats.closed_windows)

    def start_judge() -> None:
        cluster.start("judge")
        cluster.loops["judge"][-1].on_commit = listen

    cluster.start("describe")
    start_judge()
    events = shop(1, 600)
    feed(cluster, events[:300])
    die(cluster.loops["judge"][0])
    cluster.loops["judge"].clear()
    start_judge()
    feed(cluster, events[300:])
    cluster.drain()
    published = [json.loads(value) for _, value in cluster.broker.values("alerts")]
    assert published, "the stream has a change"
    assert alerts == Counter(f"{one['kind']} {one['severity']} {one['status']}" for one in published)
    assert windows == len(cluster.broker.values("metrics")) > 0
    assert min(times) >= 1_800_000_000_000 and max(times) <= cluster.now
