"""No text reaches a person but through `stream_monitor.terminal`: nothing else prints, or knows rich."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "stream_monitor"
DOOR = PACKAGE / "terminal"
OWN_WORDS = {"kafka/local.py"}
"""Prints the address of a broker that it started itself, and no text of anybody else."""
WRITERS = {"echo", "secho", "print_json", "from_markup", "print_exception"}


def faults(source: str, prints: bool = False) -> Iterator[str]:
    """What a module does that only the door may; `prints`: `print` is allowed."""
    for node in ast.walk(ast.parse(source)):
        where = f"line {getattr(node, 'lineno', 0)}"
        match node:
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "rich":
                yield f"{where}: imports {module}"
            case ast.Import(names=names) if any(name.name.split(".")[0] == "rich" for name in names):
                yield f"{where}: imports rich"
            case ast.Call(func=ast.Name(id="print")) if not prints:
                yield f"{where}: prints"
            case ast.Call(func=ast.Attribute(attr="print")):
                yield f"{where}: prints on a console"
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in WRITERS:
                yield f"{where}: calls {name}"
            case ast.Call(
                func=ast.Attribute(attr="write" | "writelines", value=ast.Attribute(attr="stdout" | "stderr"))
            ):
                yield f"{where}: writes to a standard stream"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_door_prints(path: Path) -> None:
    if not path.is_relative_to(DOOR):
        assert not list(faults(path.read_text(), str(path.relative_to(PACKAGE)) in OWN_WORDS))


@pytest.mark.parametrize(
    "source",
    [
        'console.print(f"[red]{name}[/red]")',
        "self.err.print(name)",
        "print(name)",
        "from rich.markup import escape",
        "from rich import print as show",
        "import rich.text",
        "def f():\n    from rich.console import Console",
        "Text.from_markup(name)",
        "typer.echo(name)",
        "typer.secho(name)",
        "sys.stdout.write(name)",
        "console.print_json(name)",
    ],
)
def test_what_goes_past_the_door_is_found(source: str) -> None:
    assert list(faults(source))


def test_a_style_in_the_text_of_a_line_is_only_text() -> None:
    """Were somebody to write markup for the door, a reader would see it at once."""
    from stream_monitor.terminal import Line
    from tests.screens import shown

    assert shown([Line("[red]x[/red]")]) == "[red]x[/red]\n"
