"""Helm: one that is here, or one that Go builds once; `make chart` writes what the chart makes of its examples."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from stream_monitor.kafka.local import cache_folder

VERSION = "v3.22.0"
CHART = Path(__file__).parents[2] / "deploy" / "chart"
EXAMPLES = sorted(path.stem for path in (CHART / "examples").glob("*.yaml"))
GOLDEN = Path(__file__).with_name("golden")
KUBERNETES = ("1.30", "1.37")
"""The oldest version that the chart is for, and the newest whose schemas are at hand."""


class HelmMissing(Exception):
    """There is no helm here; the text says what is missing."""


def program() -> str:
    """The path of helm."""
    built = cache_folder().parent / "go" / "helm"
    if (path := shutil.which("helm") or shutil.which(str(built))) is not None:
        return path
    if shutil.which("go") is None:
        raise HelmMissing("helm is missing, and so is Go, which would build it")
    environ = os.environ | {"GOBIN": str(built.parent), "GOFLAGS": "-p=1"}
    command = ["go", "install", f"helm.sh/helm/v3/cmd/helm@{VERSION}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        raise HelmMissing(f"Go cannot build helm: {done.stderr[-1_000:]}")
    return str(built)


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The outcome of a command of helm."""
    return subprocess.run([program(), *arguments], capture_output=True, text=True, check=False)


def template(values: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The manifests of a file of values."""
    options = ("--namespace", "monitor", "--kube-version", f"{KUBERNETES[-1]}.0", "--values", str(values))
    return helm("template", "sm", str(CHART), *options, *arguments)


if __name__ == "__main__":
    for name in EXAMPLES:
        done = template(CHART / "examples" / f"{name}.yaml")
        assert done.returncode == 0, done.stderr
        (GOLDEN / f"{name}.yaml").write_text(done.stdout)
