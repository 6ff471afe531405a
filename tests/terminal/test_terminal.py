"""The one door of texts: what a stranger chose is seen as it is, whatever the output can write."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from stream_monitor.cli.options import moment
from stream_monitor.telemetry.log_output import JsonFormatter, TextHandler
from stream_monitor.terminal import Column, Line, Screen, Table, bold, coloured, dim, visible
from stream_monitor.terminal.texts import MARKS, safe_json
from stream_monitor.timestamps import to_the_second, when
from tests.hostile_names import NAMES, TOO_LONG
from tests.patience import PATIENCE_S
from tests.pseudo_terminals import in_terminal, steering
from tests.screens import shown

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}


@pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
def test_every_character_of_a_name_is_seen(name: str) -> None:
    told = visible(name)
    assert not {c for c in told if unicodedata.category(c) in HIDDEN}
    plain = [c for c in name if unicodedata.category(c) not in HIDDEN | {"Mn"}]
    left = iter(told)
    assert all(c in left for c in plain), "what was harmless is still there, in its order"


def test_what_is_shown_says_what_was_there() -> None:
    assert visible("a\x1b[2J\n\u202e\x9b\0\ud800\U000e0041") == r"a\x1b[2J\n\u202e\x9b\x00\ud800\U000e0041"
    assert visible("naïve Größe 速度 €") == "naïve Größe 速度 €"
    assert visible("e\u0301" + "\u0301" * 100).count("\u0301") == MARKS


def test_a_text_that_is_too_long_is_cut_and_says_so() -> None:
    assert visible("x" * 50, 20) == "x" * 19 + "…" and visible("x" * 20, 20) == "x" * 20
    assert len(visible(TOO_LONG * 1_000)) == 1_000
    assert len(visible("\x1b" * 100, 20)) == 20, "what is shown counts, not what was there"


def test_no_text_is_markup() -> None:
    names = [*NAMES.values(), "\ud800"]
    table = Table([Column("name"), Column("figure", "figure"), Column("why", "prose")], "[red]title[/red]")
    for name in names:
        table.row(name, bold(name), dim(name))
    text = shown([table, *(Line(name, coloured(name, "red")) for name in names)], 5_000)
    for name in names:
        assert visible(name, 200) in text
    assert not steering(text)


def test_names_are_never_broken_nor_figures_cut_on_a_narrow_terminal() -> None:
    table = Table([Column("model"), Column("values", "figure"), Column("why", "prose")], "baselines")
    name, figure = "a-model-whose-name-is-rather-long", "1,234,567,890.123"
    table.row(name, figure, "many words that may well be wrapped between two of them")
    for width in (20, 40, 60, 80, 200):
        text = shown([table], width)
        assert name in text and figure in text, text
    code = f"from tests.terminal.test_terminal import draw; draw({name!r}, {figure!r})"
    for columns in (20, 40, 60, 80):
        command = ["-c", code]
        _, text = in_terminal(command, columns, module=False)
        assert name in text and figure in text, text


def draw(name: str, figure: str) -> None:
    table = Table([Column("model"), Column("values", "figure")])
    table.row(name, figure)
    Screen().table(table)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_there_is_a_way_to_write_it_in_every_encoding(encoding: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    screen = Screen(file=file, width=100)
    screen.line(coloured("✓", "green"), " ▁▂▃▄▅▆▇█ │ … ≈ ± σ → 速度 é")
    screen.problem("✗")
    table = Table([Column("distribution"), Column("≈", "figure")], "mean ± std")
    table.row(" ▁▂▃▄▅▆▇█", "≈1")
    table.row("12345678", "1")
    screen.table(table)
    with screen.progress("reading …", 10) as bar:
        bar.update(5)
    screen.data('{"name":"速度 \\u00e9"}')
    file.flush()
    lines = raw.getvalue().decode(encoding, "replace").splitlines()  # JSON for programs is UTF-8 always
    ends = {len(line.rstrip()) for line in lines if line.rstrip().endswith("1")}
    assert len(ends) == 1, "figures stand below each other"
    assert {"name": "速度 é"} == json.loads(raw.getvalue().decode("utf-8", "replace").splitlines()[-1])


def test_json_for_a_terminal_is_the_same_json() -> None:
    for value in ({"name": name, "more": [name]} for name in NAMES.values()):
        raw = json.dumps(value, ensure_ascii=False)
        for encoding in ("utf-8", "ascii"):
            told = safe_json(raw, encoding)
            assert json.loads(told) == value and not steering(told) and told.encode(encoding)
    assert safe_json('{"a":"é\u202e\U000e0041"}') == '{"a":"é\\u202e\\udb40\\udc41"}'


def test_log_lines_on_a_terminal_are_the_same_json() -> None:
    import logging

    for name in [*NAMES.values(), "\ud800", "x" * 5]:
        record = logging.LogRecord("x", logging.INFO, "x", 1, "said %s", (name,), None)
        record.model, record.many = name, 2**70
        told = JsonFormatter("judge", 0, terminal=True).format(record)
        assert json.loads(told)["model"] == name and not steering(told)
        assert json.loads(JsonFormatter("judge", 0).format(record))["message"] == f"said {name}"


def test_log_lines_of_text_show_what_would_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    handler = TextHandler("judge-0")
    for name in [*NAMES.values(), "\ud800", "one\ntwo"]:
        handler.emit(logging.LogRecord("x", logging.WARNING, "x", 1, "said %s", (name,), None))
    told = capsys.readouterr().err
    assert not steering(told) and told.count("Z judge-0") == len(NAMES) + 2 and "warning: said one\n  two\n" in told


def test_times_name_their_zone() -> None:
    assert when(0) == "1970-01-01 00:00 UTC" and when(5_000) == "1970-01-01 00:00:05 UTC"
    assert to_the_second(1_000) == "1970-01-01 00:00:01 UTC"


def test_a_time_is_a_date_or_how_long_ago() -> None:
    assert moment("2026-11-01") == datetime(2026, 11, 1)
    assert moment("2026-11-01T06:00:00+00:00") == datetime(2026, 11, 1, 6, tzinfo=UTC)
    assert abs((datetime.now(UTC) - moment("90m")).total_seconds() - 5_400) < 60
    for wrong in ("yesterday", "1 fortnight", "9999999999999d", ""):
        with pytest.raises(typer.BadParameter, match="is no time"):
            moment(wrong)


def test_under_no_color_there_is_no_style_at_all(tmp_path: Path) -> None:
    for command in (["schema", "nope"], ["alerts", "--help"], ["replay", str(tmp_path)]):
        _, text = in_terminal(command, environment={"NO_COLOR": "1"})
        assert text and "\x1b" not in text, text
        assert "\x1b[" in in_terminal(command)[1], "and without it there is"


def test_a_traceback_is_a_text_too() -> None:
    code = "from stream_monitor.terminal import prepare; prepare(); raise ValueError('a\\x1b[2J\\u202e\\nb')"
    ended, text = in_terminal(["-c", code], module=False)
    assert ended == 1 and "Traceback" in text and r"a\x1b[2J\u202e" in text and not steering(text), text


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path, unbuffered: str) -> None:
    code = "import sys; from stream_monitor.cli.main import main; main()"
    for arguments in ("schema profile", "schema alert"):
        line = f"{sys.executable} -c '{code}' {arguments} | true; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=PATIENCE_S,
            env={"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
        assert done.stderr == "" and done.stdout.strip() in ("0", "141"), done


def test_a_full_replay_whose_reader_goes_away_ends_quietly(tmp_path: Path) -> None:
    events = tmp_path / "events.ndjson"
    lines = (json.dumps({"id": f"{at}", "ts": 1_700_000_000_000 + at * 60_000}) for at in range(5_000))
    events.write_text("\n".join(lines))
    line = f"{sys.executable} -m stream_monitor replay {events} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    first, code = done.stdout.splitlines()
    assert json.loads(first) and code == "141" and "Traceback" not in done.stderr and "rror" not in done.stderr, done


def test_what_is_logged_in_a_command_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    script = tmp_path / "command.py"
    script.write_text(
        "import logging\nfrom stream_monitor.terminal import prepare\nprepare()\n"
        "logging.getLogger('x').warning('a name: %s', '\\x1b[2J\\u202e')\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stderr == "a name: \\x1b[2J\\u202e\n"
