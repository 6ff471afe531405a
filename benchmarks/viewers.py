"""`python -m benchmarks.viewers`: do workers notice the page? Alternating runs with and without it and its viewers.

A real Apache Kafka, one worker of each stage, and a steady feed. A run counts what describe commits in some seconds. In
every second run the page is served to viewers, each of which follows its stream of changes and asks for a model's view
at each change.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.events import make_events
from stream_monitor.config.settings import Settings, parse
from stream_monitor.kafka.local import LocalKafka
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.topics import ready
from stream_monitor.kafka.writer import EventWriter

PORT = 18_080


@contextmanager
def command(config: Path, *arguments: str) -> Iterator[None]:
    """A command of ours in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stream_monitor", *arguments, "-c", str(config)],
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def view(stop: threading.Event) -> None:
    """A viewer: follow the changes, and ask for all models and for one at each."""
    base = f"http://127.0.0.1:{PORT}/api/v1"
    while not stop.is_set():
        try:
            with urllib.request.urlopen(f"{base}/events", timeout=30) as stream:
                while not stop.is_set() and (line := stream.readline()):
                    if line.startswith(b"data"):
                        for path in ("fleet", "models/model-0?range=all"):
                            with urllib.request.urlopen(f"{base}/{path}", timeout=30) as answer:
                                answer.read()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            stop.wait(0.5)  # the page is starting, or stopping


def feed(rules: Settings, rate: int, stop: threading.Event) -> None:
    """So many events a second, until it is stopped."""
    writer, events = EventWriter(rules), list(make_events(20_000, 5))
    began, sent = time.monotonic(), 0
    while not stop.is_set():
        key, value = events[sent % len(events)]
        fresh = json.loads(value) | {"ts": int(time.time() * 1000), "id": f"{sent}-{key}"}
        writer.send("predictions", fresh["id"], json.dumps(fresh).encode())
        sent += 1
        if sent % 100 == 0:
            writer.flush()
            stop.wait(max(0.0, began + sent / rate - time.monotonic()))


def read(reader: TopicReader) -> int:
    """Predictions that describe has committed."""
    return sum(reader.committed("describe", reader.partitions("predictions")).values())


def run(rules: Settings, config: Path, seconds: float, viewers: int) -> float:
    """Events a second that describe commits, with so many viewers; 0: without the page."""
    reader, stop = TopicReader(rules), threading.Event()
    with ExitStack() as stack:
        if viewers:
            stack.enter_context(command(config, "dashboard", "--port", str(PORT)))
        threads = [threading.Thread(target=view, args=(stop,), daemon=True) for _ in range(viewers)]
        for thread in threads:
            thread.start()
        time.sleep(5)
        before, began = read(reader), time.monotonic()
        time.sleep(seconds)
        rate = (read(reader) - before) / (time.monotonic() - began)
        stop.set()
        for thread in threads:
            thread.join()
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=3_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--runs", type=int, default=10, help="of each kind")
    parser.add_argument("--viewers", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalKafka(Path(folder) / "kafka") as broker:
        rules = parse({"app": f"v{uuid.uuid4().hex[:6]}", "kafka": {"bootstrap_servers": broker.bootstrap}})
        ready(rules)
        config = Path(folder) / "settings.yaml"
        config.write_text(rules.model_dump_json())
        stop = threading.Event()
        writer = threading.Thread(target=feed, args=(rules, given.rate, stop), daemon=True)
        with command(config, "run"):
            writer.start()
            time.sleep(30)
            rates: dict[str, list[float]] = {"without": [], "with": []}
            for _ in range(given.runs):
                rates["without"].append(run(rules, config, given.seconds, 0))
                rates["with"].append(run(rules, config, given.seconds, given.viewers))
            stop.set()
            writer.join()
    told = {name: [round(x) for x in found] for name, found in rates.items()}
    medians = {name: round(statistics.median(found)) for name, found in rates.items()}
    print(json.dumps({"rate": given.rate, "viewers": given.viewers, "median": medians, **told}, indent=2))


if __name__ == "__main__":
    main()
