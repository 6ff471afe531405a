"""The page's process: what it leaves behind when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dashboard import stories


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_page_that_is_stopped_leaves_no_file(tmp_path: Path, number: signal.Signals) -> None:
    rules = stories.settings(kafka={"bootstrap_servers": "127.0.0.1:1"})
    (tmp_path / "settings.yaml").write_text(rules.model_dump_json())
    files = tmp_path / "files"
    files.mkdir()
    command = [
        sys.executable,
        "-m",
        "stream_monitor",
        "dashboard",
        "-c",
        str(tmp_path / "settings.yaml"),
        "--port",
        "0",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(files)}
    ) as process:
        assert process.stderr is not None
        assert any("the page is at" in line for line in process.stderr)
        assert [path.name for path in files.glob("*/page.sqlite")] == ["page.sqlite"]
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == 0 and not list(files.iterdir())
