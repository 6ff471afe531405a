"""YAML of the settings, bounded before it is understood: its size, its depth, its numbers, each key once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stream_monitor.errors import SettingsError

MOST_BYTES = 262_144
"""Of a settings file or a variable: more than all settings there are could fill."""
MOST_DEPTH = 20
"""Of lists and mappings in each other; no setting needs more than four."""
MOST_NUMBER = 2**63
"""JSON, and so the log, has no larger whole numbers."""


def read_file(path: Path) -> Any:
    """What a settings file says; SettingsError when it cannot be read, or is no YAML within bounds."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
        return read(raw.decode("utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read settings from {path}: {error}") from error


def read(text: str, source: str) -> Any:
    """YAML, or a SettingsError that says where the mistake is and quotes nothing, for it may stand in a password."""
    if len(text.encode("utf-8", "surrogateescape")) > MOST_BYTES:
        raise SettingsError(f"{source} has more than {MOST_BYTES:,} bytes: is it a settings file?")
    try:
        read = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise SettingsError(f"{source} is no YAML: {_told(error, text)}") from None
    except ValueError as error:  # what looks like a number or a date and is none
        raise SettingsError(f"{source} is no YAML: a number or date cannot be read; put texts in quotes") from error
    _require_numbers(read, source)
    return read


def _told(error: yaml.YAMLError, text: str) -> str:
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or "a character")
    if isinstance(error, _BoundError):
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{where}the line begins with a tab; YAML is indented with spaces"
    return f"{where}{problem.partition(chr(39))[0].strip()}; quote texts with special characters"


class _BoundError(yaml.MarkedYAMLError):
    """What is YAML and still refused."""


class _Loader(yaml.SafeLoader):
    """Refuses what nests too deep before Python's stack ends, and keys of which the last would win in silence."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, and those in it."""
        self._depth += 1
        if self._depth > MOST_DEPTH:
            parser: Any = self
            mark = parser.peek_event().start_mark
            raise _BoundError(None, None, f"lists and sections in each other more than {MOST_DEPTH} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, each key of which stands once."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise _BoundError(None, None, "this key stands there already, in the same section", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _require_numbers(read: Any, source: str) -> None:
    """SettingsError for a whole number that JSON could not hold; aliases are looked at once."""
    waiting: list[tuple[Any, str]] = [(read, "")]
    seen: set[int] = set()
    while waiting:
        value, where = waiting.pop()
        if isinstance(value, int) and abs(value) >= MOST_NUMBER:
            raise SettingsError(f"{source}: {where.lstrip('.') or 'it'} is a number of more than 64 bits")
        if id(value) in seen or not isinstance(value, dict | list):
            continue
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        waiting.extend((part, f"{where}.{str(key)[:40]}") for key, part in pairs)
