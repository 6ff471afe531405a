"""Quix Streams and River, in an environment of its own: Quix pins an older client than ours."""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

from quixstreams import Application

from benchmarks.memory import peak_rss_mb
from benchmarks.river_monitor import RiverMonitor


def main() -> None:
    bootstrap, topic_name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    app = Application(
        broker_address=bootstrap,
        consumer_group=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        loglevel=None,
        auto_create_topics=False,
    )
    monitor = RiverMonitor()
    times: list[float] = []

    def step(event: Any) -> None:
        times.append(time.perf_counter())
        monitor.update(event["features"])

    app.dataframe(app.topic(topic_name, value_deserializer="json")).update(step)
    app.run(count=count)
    rate = (len(times) - 1) / (times[-1] - times[0])
    print(json.dumps({"events_per_s": rate, "rss_mb": peak_rss_mb()}))


if __name__ == "__main__":
    main()
