"""The examples run, and say what they say they show."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def test_every_example_is_listed() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"[{path.name}]({path.name})" in text for path in FOLDER.glob("*.py"))


def test_the_replay_finds_the_thermometer_that_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(FOLDER / "replay.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    opened = [line for line in lines if ": open celsius: " in line]
    assert len(opened) == 1 and opened[0].startswith("minute 130: "), lines
