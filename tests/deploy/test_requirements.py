"""What is installed is pinned, with hashes, and the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "requirements"
FILES = sorted(path.name for path in FOLDER.glob("*.txt"))


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (FOLDER / name).read_text(), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_has_hashes_and_no_address(name: str) -> None:
    text = (FOLDER / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_the_image_holds_what_is_tested() -> None:
    image, runtime, dev = pins("image.txt"), pins("runtime.txt"), pins("dev.txt")
    assert runtime.items() <= image.items()
    assert {"river", "pyarrow"} <= set(image)
    assert {name: dev.get(name) for name in image} == image
