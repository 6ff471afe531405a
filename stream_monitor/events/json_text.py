"""JSON as programs write it: numbers that JSON has not are missing values.

Python, JavaScript libraries and C print NaN, Infinity, nan or inf, and numbers such as 1e400 that no double holds. JSON
knows none of them. They mean that there is no value, so they are read as null, in every place of an event.
"""

from __future__ import annotations

import math
import re
from typing import TypeVar

import msgspec

T = TypeVar("T")
_SUSPECT = re.compile(rb"nan|inf|\d{309}|e\+?\d{3}", re.IGNORECASE)
"""What a text without any of these has not: a number that is not finite."""
_TOKEN = re.compile(
    rb"""
    "(?:[^"\\]++|\\.)*+"                                         # a string, which stays as it is
    | (?<![\w.+-]) (?: [+-]?(?:nan|inf(?:inity)?)                # a word for a number that is not finite
                     | -?\d++(?:\.\d++)?(?:e[+-]?\d++)? )         # a number, which may be too large
      (?![\w.+-])
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def decode_json(decoder: msgspec.json.Decoder[T], raw: bytes) -> T:
    """Decode JSON; a number that is not finite is null.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: as the decoder does.
    """
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError:
        finite = without_non_finite(raw)
        if finite is raw:
            raise
    return decoder.decode(finite)


def without_non_finite(raw: bytes) -> bytes:
    """The text with null in place of numbers that are not finite; the same object where there is none.

    A text that is no JSON stays none.
    """
    if _SUSPECT.search(raw) is None:
        return raw
    found = _TOKEN.sub(_finite, raw)
    return raw if found == raw else found


def _finite(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if text[:1] == b'"' or math.isfinite(float(text)):
        return text
    return b"null"
