"""What cannot be counted is told with its reason, an example and what to do: in the log, by check, replay and build."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_monitor.cli.main import app, exit_code
from stream_monitor.describe.stage import Describe
from stream_monitor.errors import NothingUsable, StreamMonitorError
from stream_monitor.events.decode import Reject, decode
from stream_monitor.events.rejects import ADVICE, Rejects
from stream_monitor.file_replay import Line
from stream_monitor.formats.cloudevents import NO_CLOUD_EVENT, NO_JSON_DATA
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.service.recent_rejects import notes_of
from stream_monitor.service.reject_log import EVERY_S, RejectLog
from stream_monitor.stages.contract import Position
from stream_monitor.stages.statistics import RejectExample
from stream_monitor.stages.topology import Topology
from tests.streams import T0, quick_settings

IN_SECONDS = [
    json.dumps({"id": str(i), "ts": T0 // 1000, "model": "m", "features": {"x": 1}, "prediction": True})
    for i in range(300)
]
GOOD = [json.dumps({"id": f"g{i}", "ts": T0 + i, "model": "m", "features": {"x": 1}}) for i in range(300)]


def rejects_of(lines: list[bytes | None]) -> tuple[Rejects, dict[tuple[str, str], RejectExample]]:
    """Letters and figures of a commit of describe."""
    stage = Describe(quick_settings(), Topology(1, 1, 1), BinCatalog())
    stage.assign({(role, 0): Position(0, "") for role in ("predictions", "labels", "feedback")}, {})
    stage.process("predictions", [Line(line, i, T0 + 10_000) for i, line in enumerate(lines)])  # type: ignore[arg-type]
    found = Rejects()
    for output in stage.flush({}):
        if output.role == "dead-letters":
            found.take(output.value)
    stage.offsets([])
    stage.committed()
    return found, dict(stage.stats().refused)


def test_the_log_has_one_line_a_topic_and_reason_with_an_example_and_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    log = RejectLog(lambda: now[0])
    _, refused = rejects_of([line.encode() for line in IN_SECONDS])
    with caplog.at_level(logging.WARNING):
        for at in range(1_200):
            now[0] = float(at)
            log.take(refused)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("predictions cannot be counted: 300 refused (before_2000)")
    assert "stream-monitor.predictions/0/0: ts 1700000000 is before the year 2000" in lines[0]
    assert "epoch milliseconds" in lines[0]
    assert f"{300 * int(EVERY_S):,} refused" in lines[1]


def test_a_tombstone_is_told_from_an_empty_record_and_is_no_loss(caplog: pytest.LogCaptureFixture) -> None:
    found, refused = rejects_of([None, b"", b"null"])
    assert {reason for _, reason in refused} == {"tombstone", "blank", "contract"}
    assert found.total == 2
    with caplog.at_level(logging.WARNING):
        RejectLog(lambda: 0.0).take({key: refused[key] for key in refused if key[1] == "tombstone"})
    assert not caplog.records
    tombstone = decode("labels", None)
    assert isinstance(tombstone, Reject) and tombstone.reason == "tombstone"


def test_every_reason_has_an_advice() -> None:
    huge = b'{"id":"a","ts":%d,"features":{"x":"%s"}}' % (T0, b"y" * 1_000_001)
    many = json.dumps({"id": "a", "ts": T0, "features": {f"f{k}": 1 for k in range(1_001)}}).encode()
    late = json.dumps({"id": "a", "ts": T0 + 3_600_000}).encode()
    deep = b'{"id":"a","ts":%d,"features":{"x":%s}}' % (T0, b"[" * 5_000 + b"]" * 5_000)
    _, refused = rejects_of([None, b"", b"{", b"1", IN_SECONDS[0].encode(), huge, many, late, deep])
    of_cloudevents = {NO_CLOUD_EVENT, NO_JSON_DATA}  # tests/formats holds these
    of_notify = {"notify"}  # a message that no receiver accepted; tests/kafka/test_notify.py holds it
    assert {reason for _, reason in refused} | of_cloudevents | of_notify == set(ADVICE)


def test_check_tells_the_reasons_with_an_example_and_what_to_do() -> None:
    found, _ = rejects_of([*[line.encode() for line in IN_SECONDS], b"{oops"])
    first, *reasons = notes_of(found)
    assert first == "301 events of the last hour could not be counted:"
    assert "300 stream-monitor.predictions: before_2000; the first: ts 1700000000" in reasons[0]
    assert '{"id": "0"' in reasons[0] and "milliseconds" in reasons[0]
    assert "not_json" in reasons[1]
    assert list(notes_of(Rejects())) == []


@pytest.mark.parametrize(("lines", "code"), [(IN_SECONDS, 3), ([*IN_SECONDS, GOOD[0]], 0), (GOOD, 0), ([], 0)])
def test_replay_tells_the_reasons_and_exits_with_3_when_nothing_was_usable(
    lines: list[str], code: int, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("".join(line + "\n" for line in lines))
    ran = CliRunner().invoke(app, ["replay", str(file), "--out", str(tmp_path / "out")], terminal_width=1_000)
    assert ran.exit_code == code
    assert ("no event could be counted" in ran.output) == (code == 3)
    if lines and lines[0] is IN_SECONDS[0]:
        text = " ".join(ran.output.split())
        assert "300 stream-monitor.predictions: before_2000; the first: ts 1700000000" in text


def test_baseline_build_exits_with_3_when_nothing_was_usable(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text("".join(line + "\n" for line in IN_SECONDS))
    command = ["baseline", "build", "--from", str(file), "--out", str(tmp_path / "out.json")]
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, NothingUsable) and exit_code(error) == 3
    assert "before_2000" in str(error) and "milliseconds" in str(error)
    assert exit_code(StreamMonitorError("x")) == 2


def test_replay_tells_what_is_late_doubled_and_joins_nothing(tmp_path: Path) -> None:
    events = [json.loads(line) for line in GOOD]
    events[100]["ts"] -= 3_600_000
    lines = [*events, events[5], {"id": "nobody", "ts": T0 + 300, "label": 1}, {"id": "g7", "ts": T0 + 300, "label": 1}]
    file = tmp_path / "events.ndjson"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = CliRunner().invoke(app, ["replay", str(file), "--out", str(tmp_path / "out")], terminal_width=1_000)
    assert ran.exit_code == 0
    assert "1 predictions came late" in ran.output
    assert "1 predictions have an id that came before" in ran.output
    assert "1 of 2 labels joined no prediction" in ran.output
