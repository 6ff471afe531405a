"""`check` tells everything that is wrong in one go, and no secret."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_monitor.cli.main import app, main
from stream_monitor.errors import StreamMonitorError

SECRETS = {
    "STREAM_MONITOR__KAFKA__OPTIONS__NO_SUCH_PASSWORD": "hunter2-option",
    "STREAM_MONITOR__HTTP__TOKEN": "hunter2-0123456789",
    "STREAM_MONITOR__PRIVACY__KEY": "hunter2-0123456789",
}
WRONG = {
    "STREAM_MONITOR__HTTP__HOST": "0.0.0.0",
    "STREAM_MONITOR__PRIVACY__HASH": "[zip]",
    "STREAM_MONITOR__DETECTION__LIMITS": '["zip.mean > 3"]',
}


def test_every_problem_is_told_and_no_secret() -> None:
    told = CliRunner().invoke(app, ["check"], env=SECRETS | WRONG, terminal_width=1_000)
    text = " ".join(told.output.split())
    assert told.exit_code == 1
    for problem in ("set http.tls_certificate, or", "watches numbers that privacy.hash hashes", "no.such.password"):
        assert problem in text
    assert "no.such.password: '**********'" in text
    assert "hunter2" not in told.output


def test_run_refuses_before_it_reaches_for_a_broker() -> None:
    told = CliRunner().invoke(app, ["run"], env=SECRETS | WRONG)
    assert isinstance(told.exception, StreamMonitorError)
    with pytest.raises(StreamMonitorError, match=r"http\.open: true"):
        raise told.exception


def test_river_that_is_missing_is_named_with_its_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("detection: {outcome: [ddm]}\n")
    monkeypatch.setitem(sys.modules, "river", None)  # what Python itself takes as "not there"
    monkeypatch.setattr(sys, "argv", ["stream-monitor", "check", "--config", str(file)])
    told = io.StringIO()
    with contextlib.redirect_stderr(told), pytest.raises(SystemExit):
        main()
    assert "pip install 'stream-monitor[river]'" in " ".join(told.getvalue().split())
