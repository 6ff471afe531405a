"""Podman in a folder of its own: the tests of the image need no other engine, and touch no other image.

As root on a Debian its parts are installed where they are missing; the base image is made by debootstrap where the
usual one cannot be pulled.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import packages

BASE = "python:3.12-slim"
PACKAGES = ("podman", "buildah", "runc", "netavark", "aardvark-dns", "iptables", "debootstrap")
MADE_BASE = "localhost/stream-monitor-base:bookworm"
CONTAINERS = """[containers]
default_ulimits = ["nofile=1024:20000", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
"""No systemd is needed, and no right to raise limits."""
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
BUNDLES = "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"


class EngineMissing(Exception):
    """No image can be built here; the text says what is missing."""


def install_parts() -> None:
    """Podman and what it needs; EngineMissing where they cannot be had."""
    if all(shutil.which(name) for name in ("podman", "runc", "debootstrap", "iptables")):
        return
    if failure := packages.install(*PACKAGES):
        raise EngineMissing(f"podman is missing and cannot be installed: {failure}")


class Podman:
    """Runs podman; images and layers stay in `folder` for the next time."""

    def __init__(self, folder: Path) -> None:
        install_parts()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.environ = dict(os.environ)
        if os.geteuid() == 0:
            (folder / "containers.conf").write_text(CONTAINERS)
            places = f'graphroot = "{folder / "graph"}"\nrunroot = "{folder / "run"}"\n'
            (folder / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{places}')
            self.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
            self.environ["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The outcome of a command, whatever it is."""
        command = ["podman", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self.environ)

    def run(self, *arguments: str) -> str:
        """What a command prints; an AssertionError with all it says when it fails."""
        done = self.start(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stdout[-3_000:]}{done.stderr[-3_000:]}"
        return done.stdout

    def base(self) -> str:
        """The usual base image, or one that is made here; EngineMissing when there is neither."""
        if not self.start("image", "exists", BASE).returncode or not self.start("pull", "--quiet", BASE).returncode:
            return BASE
        if self.start("image", "exists", MADE_BASE).returncode:
            self._make_base()
        return MADE_BASE

    def _make_base(self) -> None:
        if os.geteuid() != 0:
            raise EngineMissing(f"{BASE} cannot be pulled, and only root can make another one")
        root, packed = self.folder / "root", self.folder / "root.tar"
        shutil.rmtree(root, ignore_errors=True)
        include = "--include=python3,python3-venv,python3-pip,ca-certificates"
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", include, "bookworm", str(root)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise EngineMissing(f"{BASE} cannot be pulled, and debootstrap fails: {made.stdout[-2_000:]}{made.stderr}")
        unneeded = [f"--exclude=./var/{name}/*" for name in ("cache/apt", "lib/apt/lists")]
        subprocess.run(["tar", "-C", str(root), *unneeded, "-cf", str(packed), "."], check=True)
        self.run("import", str(packed), MADE_BASE)
        packed.unlink()
        shutil.rmtree(root)

    def build(self, source: Path, tag: str, target: str = "image") -> str:
        """Build deploy/Dockerfile; what this machine needs to reach its package index is mounted, and stays outside."""
        mounts = [f"--volume={path}:{place}:ro" for path, place in pip_files(self.folder)]
        arguments = (
            "--format",
            "docker",
            "--network",
            "host",
            *mounts,
            "--target",
            target,
            "--build-arg",
            f"BASE={self.base()}",
        )
        return self.run("build", *arguments, "-t", tag, "-f", str(source / "deploy" / "Dockerfile"), str(source))


def pip_files(folder: Path) -> list[tuple[Path, str]]:
    """(file here, place in the build) of pip's settings and certificates, where this machine has any."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    options: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        options[name.rpartition(".")[2]] = ast.literal_eval(value)
    kept = {name: value for name, value in options.items() if name in PIP_OPTIONS}
    files = []
    bundle = options.get("cert") or next((os.environ[name] for name in BUNDLES if os.environ.get(name)), None)
    if bundle is not None and Path(bundle).is_file():
        files.append((Path(bundle).resolve(), "/run/build/certificates.pem"))
        kept["cert"] = "/run/build/certificates.pem"
    settings = folder / "pip.conf"
    settings.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in kept.items()))
    return [*files, (settings, "/etc/pip.conf")]
