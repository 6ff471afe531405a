"""The docs tell the truth, where a program can tell."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from stream_monitor.config import yaml_text
from stream_monitor.config.detection import WINDOW_TESTS
from stream_monitor.config.settings import parse
from stream_monitor.detect.sequential.registry import CUSUM, SEQUENTIAL_DETECTORS
from stream_monitor.detect.windows.tests import TOLERANCE
from stream_monitor.kafka import loop

ROOT = Path(__file__).parent.parent
DETECTION = ROOT / "docs" / "detection"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(DETECTION.glob("*.md")),
]


LOSSES = {name for name, test in WINDOW_TESTS.items() if "loss" in test.kinds}
"""They share a page."""


def links_of(page: Path) -> list[tuple[str, str]]:
    """(path, anchor) of each link; either may be empty."""
    return re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_settings_page_is_what_the_model_says() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_settings.py"))["page"]()
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == made


def test_the_reference_is_that_of_the_code() -> None:
    pages = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["PAGES"]
    for name, make in pages.items():
        assert (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8") == make(), name


def test_the_commit_is_told_in_the_same_order_in_code_and_docs() -> None:
    steps = re.findall(r"^ \d\. .*$", loop.__doc__ or "", re.MULTILINE)
    assert len(steps) == 5
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [step for step in re.findall(r"^ \d\. .*$", text, re.MULTILINE)] == steps


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for path, anchor in links_of(page):
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {path}"
            assert not anchor or anchor in anchors_of(target), f"{page.name}: {path}#{anchor}"


def test_every_test_and_detector_has_its_page() -> None:
    linked = {path for path, _ in links_of(DETECTION / "README.md")}
    for name in {*TOLERANCE, *SEQUENTIAL_DETECTORS, CUSUM} - {"volume"} - LOSSES:  # which are pages among the topics
        assert (DETECTION / f"{name}.md").read_text(encoding="utf-8").startswith(f"# `{name}`: ")
        assert f"{name}.md" in linked


def test_every_page_on_detection_is_linked_from_its_first_page() -> None:
    linked = {path for path, _ in links_of(DETECTION / "README.md")}
    assert {page.name for page in DETECTION.glob("*.md")} - {"README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_example_settings_are_valid(page: Path) -> None:
    for example in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        parse(yaml_text.read(example, page.name) or {}, page.name)


def test_tolerances_of_the_docs_are_those_of_the_code() -> None:
    for name, tolerance in TOLERANCE.items():
        page = (DETECTION / f"{'losses' if name in LOSSES else name}.md").read_text(encoding="utf-8")
        assert re.search(rf"^\| `detection\.tolerance\.{name}` \| `{tolerance}` \|", page, re.MULTILINE), name
