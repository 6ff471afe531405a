"""What must not be kept of an event as it is: features and tags that are replaced by a keyed hash, or left out.

The hash is BLAKE2b with a secret key (RFC 7693), over the field's name and the value: who has not the key can neither
try values out nor connect two fields. It is a pseudonym, not anonymity: equal values stay equal, or nothing could be
counted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from stream_monitor.events.json_text import decode_json

TOKEN_BYTES = 10
"""Two of a million values of a field meet with a probability of 4 · 10^-13."""
KNOWN, KNOWN_CHARACTERS = 1 << 16, 128
"""Hashes that are remembered, of texts that are no longer; others are made anew."""
DEPTH = 64
"""Nesting that is searched for private fields; what is nested deeper is not kept."""


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class Privacy:
    """The private fields of an app. Replaces values; names of fields stay."""

    def __init__(self, hashed: Iterable[str] = (), dropped: Iterable[str] = (), key: str | None = None) -> None:
        self.hashed, self.dropped = frozenset(hashed), frozenset(dropped)
        self._key = None if key is None else hashlib.blake2b(key.encode(), digest_size=32).digest()
        self._known: dict[tuple[str, str], str] = {}

    def __bool__(self) -> bool:
        return bool(self.hashed or self.dropped)

    def token(self, name: str, text: str) -> str:
        """What stands for a text of a hashed field."""
        token = self._known.get((name, text))
        if token is None:
            if self._key is None:
                raise ValueError("hashed fields need a key")
            payload = f"{name}\0{text}".encode("utf-8", "surrogatepass")
            token = "#" + hashlib.blake2b(payload, digest_size=TOKEN_BYTES, key=self._key).hexdigest()
            if len(text) <= KNOWN_CHARACTERS:
                if len(self._known) >= KNOWN:
                    self._known.clear()
                self._known[name, text] = token
        return token

    def hide(self, name: str, value: Any) -> Any:
        """A value as it may be kept: those of hashed fields as tokens, but null, arrays and objects as they are.

        All ways to write a number have one token.
        """
        if name not in self.hashed or value is None or isinstance(value, list | dict):
            return value
        if isinstance(value, bool):
            value = "true" if value else "false"
        elif isinstance(value, int | float) and abs(value) > 2**53 and value == value // 1:
            value = str(int(value))  # as floats several of them would be one
        elif isinstance(value, int | float):
            value = repr(float(value) + 0.0)  # -0.0 + 0.0 is 0.0
        return self.token(name, value)

    def redacted(self, raw: bytes) -> bytes:
        """The JSON of an event that could not be counted without its private fields, at whatever depth they stand.

        Nothing at all of what is not JSON: nobody knows where in it a value lies.
        """
        try:
            value = self._redact(decode_json(_decoder, raw), DEPTH)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return b""
        return json.dumps(value, separators=(",", ":")).encode()

    def _redact(self, value: Any, depth: int) -> Any:
        if not isinstance(value, list | dict):
            return value
        if depth == 0:
            return None
        if isinstance(value, list):
            return [self._redact(item, depth - 1) for item in value]
        return {
            name: self._replaced(name, item) if name in self.hashed else self._redact(item, depth - 1)
            for name, item in value.items()
            if name not in self.dropped
        }

    def _replaced(self, name: str, value: Any) -> Any:
        """Arrays and objects could hold the value in any part, so nothing of them stays."""
        if isinstance(value, list | dict):
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value) if abs(value) >= 2**1023 else value
        return self.hide(name, value)

    def fingerprint(self, raw: bytes) -> str:
        """A hash by which an event can be found again by who has it.

        With private fields it has the key, for an event of which all is known but one field could be guessed by a hash
        without; and where there is no key there is none.
        """
        if not self:
            return hashlib.sha256(raw).hexdigest()
        return hmac.new(self._key, raw, hashlib.sha256).hexdigest() if self._key is not None else ""
