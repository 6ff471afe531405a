"""The log is for people on a terminal, and for programs elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from tests.pseudo_terminals import in_terminal

EMBEDDED = ["run", "--embedded"]


def until_ready(process: subprocess.Popen[bytes], said: bytes) -> None:
    """Ctrl-C once both stages are ready, to all as a terminal does: the command passes it on."""
    if said.count(b"ready") >= 2:
        process.send_signal(signal.SIGINT)


def test_on_a_terminal_a_person_reads_where_to_send_and_where_to_look() -> None:
    code, said = in_terminal(EMBEDDED, heard=until_ready)
    assert code == 0, said
    for text in (
        "send events to the topic stream-monitor.predictions on ",
        "metrics of describe-0 at http://127.0.0.1:",
    ):
        assert text in said
    assert "{" not in said and said.count("ready") >= 2 and said.count("stopped") == 2


def test_json_may_be_wanted_on_a_terminal_too() -> None:
    code, said = in_terminal(EMBEDDED, environment={"STREAM_MONITOR__LOG__FORMAT": "json"}, heard=until_ready)
    records = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and {record["role"] for record in records} == {"command", "describe", "judge"}


def test_elsewhere_every_line_is_json() -> None:
    command = [sys.executable, "-m", "stream_monitor", *EMBEDDED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(json.loads(line)["message"])
            if said[-1] == "ready" and said.count("ready") == 2:
                process.terminate()
    assert process.returncode == 0 and said.count("stopped") == 2, said
