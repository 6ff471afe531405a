"""No module, class or function grows beyond what a reader takes in at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import stream_monitor

ROOT = Path(stream_monitor.__file__).parent
MOST = {"module": 400, "class": 250, "function": 60}
"""Lines."""
EXCEPTED = {"kernels/json_scanner.py", "kernels/json_scanner.py:read_event"}
"""A parser is one decision after the other, and the compiler inlines it only as a whole."""


def sizes() -> Iterator[tuple[str, str, int]]:
    """(kind, name, lines) of everything in the package."""
    for path in sorted(ROOT.rglob("*.py")):
        text, name = path.read_text(), path.relative_to(ROOT).as_posix()
        yield "module", name, text.count("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                kind = "class" if isinstance(node, ast.ClassDef) else "function"
                yield kind, f"{name}:{node.name}", (node.end_lineno or 0) - node.lineno + 1


def test_nothing_is_too_long() -> None:
    long = {name: lines for kind, name, lines in sizes() if lines > MOST[kind]}
    assert long.keys() == EXCEPTED, long
