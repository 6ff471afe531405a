"""The docs tell the truth, where a program can tell."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from stream_monitor.detect.sequential.registry import DETECTORS
from stream_monitor.detect.windows.tests import TOLERANCE
from stream_monitor.kafka import loop

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_settings_page_is_what_the_model_says() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == made


def test_the_commit_is_told_in_the_same_order_in_code_and_docs() -> None:
    steps = re.findall(r"^ \d\. .*$", loop.__doc__ or "", re.MULTILINE)
    assert len(steps) == 5
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [step for step in re.findall(r"^ \d\. .*$", text, re.MULTILINE)] == steps


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_and_detector_has_its_row() -> None:
    text = (ROOT / "docs" / "detection.md").read_text(encoding="utf-8")
    for name in {*TOLERANCE, *DETECTORS} - {"volume"}:
        assert f"| `{name}` |" in text
