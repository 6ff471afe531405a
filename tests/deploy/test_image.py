"""The image of deploy/Dockerfile, built and run: `make image-test`."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from stream_monitor.config.settings import Settings
from stream_monitor.kafka.tail import Tail
from stream_monitor.version import __version__
from tests.deploy.podman import Podman
from tests.deploy.traffic import drifting, settings_for
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.image

LOCKED = (
    "--read-only", "--tmpfs=/tmp:rw,nosuid,nodev,mode=1777", "--cap-drop=all", "--security-opt=no-new-privileges",
    "--memory=512m", "--no-healthcheck",
)  # fmt: skip
STOP_S = 10.0
MOST_MB = 900
"""Of the whole image with a base of 300 MB: llvmlite and pyarrow are 170 each, scipy 130."""

SIZES = """
import collections, os, pathlib, sysconfig
def size(place):
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(place) for name in names)
parts = collections.Counter()
for place in pathlib.Path(sysconfig.get_paths()["purelib"]).iterdir():
    parts[place.name.split(".libs")[0].split("-")[0]] += size(place) if place.is_dir() else place.stat().st_size
shown = dict(parts.most_common(12))
shown["other packages"] = sum(parts.values()) - sum(shown.values())
shown["machine code"] = size("/cache")
shown["base: /usr"] = size("/usr")
for name, amount in shown.items():
    print(f"{name:24}{amount / 1e6:8.1f} MB")
"""
ELSEWHERE = """
import logging, os, sys
import llvmlite.binding as binding
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
features = binding.get_host_cpu_features()
features["avx512f"] = not features.get("avx512f")
name = "znver4" if binding.get_host_cpu_name() != "znver4" else "haswell"
binding.get_host_cpu_name = lambda: name
binding.get_host_cpu_features = lambda: features
import numba.core.codegen, stream_monitor.kernels.numba_backend
assert os.environ["NUMBA_CPU_NAME"] == "x86-64-v3"
from stream_monitor.service.warm_up import warm_up
warm_up()
print("warm")
"""
"""A start on another processor, as far as numba's key of machine code knows it."""


@contextmanager
def running(podman: Podman, image: str, settings: Settings, folder: Path) -> Iterator[str]:
    """A locked-down container with these settings in a file, on this machine's network."""
    file = folder / "settings.yaml"
    file.write_text(json.dumps(settings.model_dump(mode="json")))
    file.chmod(0o644)
    mount = f"--volume={file}:/settings.yaml:ro"
    name = podman.run(
        "run", "--detach", "--network=host", *LOCKED, mount, image, "run", "--config", "/settings.yaml"
    ).strip()
    try:
        yield name
    finally:
        podman.run("rm", "--force", "--time", "0", name)


def logged(podman: Podman, name: str) -> str:
    done = podman.start("logs", name)
    return done.stdout + done.stderr


def free_port() -> int:
    """One that was free a moment ago, as was the next one: describe and judge serve side by side."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = int(probe.getsockname()[1])
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


def status(port: int, path: str) -> int | None:
    """The HTTP status; None while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def alerts(settings: Settings) -> list[dict[str, object]]:
    """Waits for the first."""
    tail, deadline = Tail(settings, ("alerts",)), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := tail.read(0.5):
            return [json.loads(value) for _, value in found]
    return []


def test_a_locked_down_container_serves_and_finds_a_drift(
    podman: Podman, image: str, kafka: str, tmp_path: Path
) -> None:
    detection = {"input": ["cusum", "page_hinkley", "adwin"], "outcome": ["cusum", "hddm_w"]}
    settings = settings_for(kafka, http={"port": free_port()}, detection=detection)
    started = time.monotonic()
    with running(podman, image, settings, tmp_path) as name:
        while {status(settings.http.port + at, "/readyz") for at in (0, 1)} != {200}:
            alive = podman.run("inspect", "--format", "{{.State.Running}}", name).strip() == "true"
            assert alive and time.monotonic() < started + PATIENCE_S, logged(podman, name)
            time.sleep(0.2)
        ready = time.monotonic() - started
        assert status(settings.http.port, "/healthz") == 200
        drifting(settings)
        found = alerts(settings)
        assert any(alert["measure"] == "amount" for alert in found), logged(podman, name)
        print(f"\nready after {ready:.1f} s, first alert after {time.monotonic() - started:.1f} s")
        users = podman.run("exec", name, "/venv/bin/python", "-c", "import os; print(os.getuid(), os.getgroups())")
        assert users.split()[0] == "10001"
        stopping = time.monotonic()
        podman.run("kill", "--signal=TERM", name)
        assert podman.run("wait", name).strip() == "0", logged(podman, name)
        assert time.monotonic() - stopping < STOP_S
        lines = [json.loads(line) for line in logged(podman, name).splitlines()]
        assert [line for line in lines if "compiling" in line["message"]] == []
        assert [line for line in lines if line["level"] not in ("info", "debug")] == []


def test_machine_code_fits_another_processor(podman: Podman, image: str) -> None:
    inside = ("run", "--rm", "--network=none", *LOCKED, "--entrypoint", "/venv/bin/python")
    assert podman.run(*inside, image, "-c", ELSEWHERE) == "warm\n"
    native = ("--env=NUMBA_CPU_NAME=generic", "--env=NUMBA_CPU_FEATURES=")
    assert "compiling" in podman.run(*inside, *native, image, "-c", ELSEWHERE.replace("x86-64-v3", "generic"))


def test_detectors_of_river_and_parquet_files_are_in_it(podman: Podman, image: str, tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = {"amount": [rng.gauss(0, 1) for _ in range(2_000)], "prediction": [i % 2 == 0 for i in range(2_000)]}
    parquet.write_table(pyarrow.table(rows), tmp_path / "training.parquet")
    tmp_path.chmod(0o755)
    mounts = (f"--volume={tmp_path}:/data:ro", "--env=STREAM_MONITOR__DETECTION__OUTCOME=[kswin,ddm]")
    command = ("baseline", "build", "--from", "/data/training.parquet", "--model", "m", "--out", "/tmp/made.json")
    podman.run("run", "--rm", "--network=none", *LOCKED, *mounts, image, *command)


def test_nothing_in_it_raises_rights_or_names_this_machine(podman: Podman, image: str) -> None:
    find = "find / -xdev ( -path /proc -o -path /sys ) -prune -o -type f"
    shell = ("run", "--rm", "--network=none", "--user=0", "--entrypoint", "/bin/sh", image, "-c")
    escaped = find.replace("(", r"\(").replace(")", r"\)")
    assert podman.run(*shell, f"{escaped} -perm /6000 -print") == ""
    assert podman.run(*shell, f"{escaped} -perm -0002 -print") == ""
    assert podman.run(*shell, "cat /etc/pip.conf /run/build/* 2>/dev/null; ls /venv/bin | grep -c pip; true") == "0\n"
    inspected = json.loads(podman.run("image", "inspect", image))[0]
    config = inspected["Config"]
    health = inspected.get("Healthcheck") or config["Healthcheck"]  # podman's place, and Docker's
    assert config["User"] == "10001"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert health["Test"][:2] == ["CMD", "/venv/bin/python"] and config["StopSignal"] in ("SIGTERM", "15")
    names = {entry.partition("=")[0] for entry in config["Env"]}
    ours = {"NUMBA_CACHE_DIR", "NUMBA_CPU_FEATURES", "NUMBA_CPU_NAME", "PATH", "PYTHONDONTWRITEBYTECODE"}
    of_base = {"container", "GPG_KEY", "LANG", "PYTHON_SHA256", "PYTHON_VERSION"}
    assert names - of_base == ours


def test_its_size_by_part(podman: Podman, image: str) -> None:
    size = json.loads(podman.run("image", "inspect", image))[0]["Size"] / 1e6
    print(podman.run("run", "--rm", "--network=none", "--user=0", "--entrypoint=/venv/bin/python", image, "-c", SIZES))
    print(f"{'the image':24}{size:8.1f} MB")
    assert size < MOST_MB
