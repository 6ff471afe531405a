"""Escapes for untrusted texts: characters that control a terminal, hide or reverse text become visible codes."""

from __future__ import annotations

import codecs
import re
import unicodedata

MOST = 1_000
"""The most characters of a text that a person sees."""
MOST_OF_NAME = 200
"""The most characters of a name in a table: the longest that a contract allows, and room for escapes."""
MARKS = 4
"""Combining marks on one character; languages need up to four, and hundreds, cut with `…`, would cover other lines."""

_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that are invisible."""
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
_STEERING = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000110bd\U000110cd\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""In JSON: control and format characters. A newline stays, because in JSON it stands only between values."""

FALLBACK = "stream_monitor.fallback"
"""The error handler that replaces our own signs where the output supports only ASCII or Latin-1."""
_SIGNS = {
    "…": "~", "✓": "+", "✗": "x", "≈": "~", "→": ">", "←": "<", "·": "|", "│": "|", "±": "~", "σ": "s", "÷": "/",
    "─": "-", "╶": "-", "╴": "-", "╸": "-", "╺": "-", "━": "=", "Δ": "D", "×": "x",
    "▁": ".", "▂": ":", "▃": "-", "▄": "=", "▅": "+", "▆": "*", "▇": "%", "█": "#",
}  # fmt: skip
"""One character for one character, so that columns stay aligned."""


def visible(text: object, most: int = MOST) -> str:
    """A text on one line, every character visible, at most `most` of them. `…` marks that the text was longer."""
    shown = "".join(_shown(str(text)[: most + 1]))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _shown(text: str) -> list[str]:
    found, marks = list[str](), 0
    for character in text:
        kind = unicodedata.category(character)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        if marks <= MARKS:
            found.append(_escaped(character) if kind in _HIDDEN or character in _BLANKS else character)
        elif marks == MARKS + 1:
            found.append("…")
    return found


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def encodable(text: str, encoding: str) -> str:
    """The same text in characters that an output in this encoding supports."""
    return text.encode(encoding, FALLBACK).decode(encoding)


def safe_json(text: str, encoding: str = "utf-8") -> str:
    """Equal JSON without characters that control a terminal, in characters that the encoding supports."""
    escaped = _STEERING.sub(lambda found: _json_escape(found[0]), text)
    try:
        escaped.encode(encoding)
    except UnicodeEncodeError:
        return "".join(c if ord(c) < 128 else _json_escape(c) for c in escaped)
    return escaped


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _fall_back(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_SIGNS.get(character) or _escaped(character) for character in lost), error.end


codecs.register_error(FALLBACK, _fall_back)
