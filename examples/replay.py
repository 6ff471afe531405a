"""Judge a stream without Kafka: a thermometer that begins to read 3 degrees too high.

Run it from a checkout with `.venv/bin/python examples/replay.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import stream_monitor

START = 1_767_225_600_000
"""2026-01-01, epoch ms."""


def readings() -> Iterator[stream_monitor.Prediction]:
    """Four hours, a reading a second; from the third hour on the thermometer is wrong."""
    chance = random.Random(1)
    for second in range(4 * 3_600):
        celsius = chance.gauss(20.0, 2.0) + (3.0 if second >= 2 * 3_600 else 0.0)
        yield stream_monitor.Prediction(
            id=f"reading-{second}", ts=START + 1_000 * second, model="thermometer", features={"celsius": celsius}
        )


def main() -> None:
    """Print each alert."""
    settings = stream_monitor.parse_settings({"time": {"pane": "1m", "windows": ["10m"]}, "baseline": {"first": 3_000}})
    for record in stream_monitor.replay(readings(), settings):
        if isinstance(record, stream_monitor.Alert):
            print(f"minute {(record.ts - START) // 60_000}: {record.status} {record.measure}: {record.reason}")


if __name__ == "__main__":
    main()
