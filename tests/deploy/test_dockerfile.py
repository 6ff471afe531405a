"""deploy/Dockerfile without building it; `make image-test` builds and runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which
from sys import prefix

import pytest

from stream_monitor.version import __version__

FILE = Path(__file__).parents[2] / "deploy" / "Dockerfile"


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    program = which("hadolint", path=f"{prefix}/bin")
    assert program is not None, "it comes with requirements/dev.txt"
    return subprocess.run([program, str(file)], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(FILE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("WORKDIR /src", "WORKDIR src"),
        ("RUN useradd", "RUN cd /tmp && useradd"),
        ('ENTRYPOINT ["/venv/bin/stream-monitor"]', "ENTRYPOINT /venv/bin/stream-monitor"),
        ("COPY --from=build", "COPY --from=builder"),
    ],
)
def test_hadolint_refuses_a_worse_one(tmp_path: Path, right: str, wrong: str) -> None:
    text = FILE.read_text()
    assert right in text
    (tmp_path / "Dockerfile").write_text(text.replace(right, wrong))
    assert hadolint(tmp_path / "Dockerfile").returncode != 0


def test_its_version_is_ours() -> None:
    assert f"ARG VERSION={__version__}\n" in FILE.read_text()
