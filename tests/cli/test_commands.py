"""What the command line says of files before it works on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_monitor.cli.main import app
from stream_monitor.errors import StreamMonitorError
from tests.patience import PATIENCE_S
from tests.streams import shop

WRITERS = [
    ["replay", "EVENTS", "--out"],
    ["baseline", "build", "--from", "EVENTS", "--out"],
    ["rejudge", "--out"],
    ["evaluate", "--json"],
    ["evaluate", "--plot"],
    ["demo", "--report"],
]
"""Commands whose last option is a file that they write; those that need a broker do not get as far."""


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(event.raw for event in shop(1, 200) if event.role == "predictions"))
    return file


@pytest.mark.parametrize("command", WRITERS, ids=" ".join)
def test_what_cannot_be_written_is_told_before_the_work(command: list[str], events: Path) -> None:
    line = [str(events) if word == "EVENTS" else word for word in command]
    for target, why in ((events.parent / "none" / "out", "no directory"), (events.parent, "is a directory")):
        done = CliRunner().invoke(app, [*line, str(target)], env={"COLUMNS": "1000"})
        assert done.exit_code == 2 and command[-1] in done.stderr and why in done.stderr, done.output


@pytest.mark.parametrize(
    "command",
    [*WRITERS[:2], ["evaluate", "EVENTS", "--json"], ["rejudge", "--baseline", "EVENTS", "--out"]],
    ids=" ".join,
)
def test_what_is_read_is_never_written_over(command: list[str], events: Path) -> None:
    before, alias = events.read_bytes(), events.parent / "alias"
    alias.symlink_to(events)
    line = [str(events) if word == "EVENTS" else word for word in command]
    done = CliRunner().invoke(app, [*line, str(alias)])
    assert done.exit_code == 2 and "is to be read" in " ".join(done.stderr.split()), done.output
    assert events.read_bytes() == before


def test_a_full_disk_is_told_in_a_line(events: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "stream_monitor", "replay", str(events), "--out", "/dev/full"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2 and "No space left" in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_replay_writes_what_it_found_where_it_was_told_to(events: Path) -> None:
    out = events.parent / "out.ndjson"
    for _ in range(2):  # the second time over its own
        assert CliRunner().invoke(app, ["replay", str(events), "--out", str(out)]).exit_code == 0
        assert {json.loads(line)["topic"] for line in out.read_text().splitlines()} >= {"metrics"}


@pytest.mark.parametrize(
    "command",
    [["rejudge", "--since", "--until"], ["baseline", "build", "--topics", "--since", "--until"]],
    ids=" ".join,
)
def test_a_time_that_ends_before_it_begins_is_refused(command: list[str]) -> None:
    *line, since, until = command
    done = CliRunner().invoke(app, [*line, since, "2026-12-01", until, "2026-11-01"], env={"COLUMNS": "1000"})
    assert done.exit_code == 2 and "before it begins" in done.stderr, done.output


def test_a_baseline_that_is_not_there_is_told(events: Path) -> None:
    out = events.parent / "calm.json"
    assert CliRunner().invoke(app, ["baseline", "build", "--from", str(events), "--out", str(out)]).exit_code == 0
    assert CliRunner().invoke(app, ["baseline", "show", str(out), "--measure", "amount"]).exit_code == 0
    for option in ("--measure", "--model"):
        done = CliRunner().invoke(app, ["baseline", "show", str(out), option, "nope"])
        assert isinstance(done.exception, StreamMonitorError) and "nope" in str(done.exception)


BAD = [b'{"id":"a","ts":1}', b"{oops", b"{oops", b'{"id":"","ts":1700000000000}']


def test_a_replay_says_why_events_were_left_out(events: Path) -> None:
    bad = events.parent / "bad.ndjson"
    bad.write_bytes(b"\n".join(BAD))
    done = CliRunner().invoke(app, ["replay", str(bad), "--out", str(events.parent / "out")], env={"COLUMNS": "1000"})
    assert done.exit_code == 3, done.output
    *told, end = done.stderr.splitlines()
    assert end == "error: no event could be counted"
    assert "4 dead-letters" in told[-4]
    assert told[-3].startswith("  2 stream-monitor.predictions: not_json; the first: ")
    assert {line.split(": ")[1].partition(";")[0] for line in told[-2:]} == {"contract", "before_2000"}


def test_a_baseline_of_nothing_says_why(events: Path) -> None:
    bad = events.parent / "bad.ndjson"
    bad.write_bytes(b"\n".join(BAD))
    with pytest.raises(StreamMonitorError, match=r"read were 4 predictions\n  2 .*not_json; the first: "):
        raise invoked("baseline", "build", "--from", str(bad), "--out", str(events.parent / "out"))
    bad.write_bytes(b'{"id":"a","ts":1700000000000,"label":1}')
    with pytest.raises(StreamMonitorError, match=r"read were 1 labels\n  a baseline is made of predictions"):
        raise invoked("baseline", "build", "--from", str(bad), "--out", str(events.parent / "out"))


def invoked(*command: str) -> BaseException:
    """What a command raised."""
    done = CliRunner().invoke(app, list(command))
    assert done.exception is not None
    return done.exception


def test_a_limit_of_the_address_space_is_one_sentence() -> None:
    """A worker maps 1.7 GB; with less it ended in the middle of compiling, with a traceback."""
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1_200_000_000,) * 2)\n"
        "from stream_monitor.cli.main import main; main()"
    )
    command = [sys.executable, "-c", limited, "run", "--embedded", "--role", "describe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the address space is limited to 1.2 GB (ulimit -v), a worker needs 2 GB" in done.stderr


def test_a_time_before_kafka_has_any_is_refused() -> None:
    """To Kafka negative times are words, -1 the end of the log."""
    command = ["baseline", "build", "--topics", "--since", "1969-12-31T23:59:59"]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "1000"})
    assert done.exit_code == 2 and "is before 1970" in done.stderr
