"""Who may read and write: a token, a signed cookie after a login, and the headers of every answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from stream_monitor.config.settings import Settings
from stream_monitor.telemetry.http_server import is_loopback

COOKIE = "stream_monitor"
SESSION_S = 12 * 3_600
WRITES_A_MINUTE = 10
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""Headers by which proxies say that they are there."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Guard:
    """Decides who may read and write.

    Without a token everybody who reaches the page may read. A page without a token is served on loopback, or where the
    settings say that something else guards it. On loopback the page answers only requests for a local name, so that a
    foreign site cannot read it through a name of its own that leads here.
    """

    def __init__(self, settings: Settings) -> None:
        token = settings.http.token
        self._token = None if token is None else token.get_secret_value()
        self._key = secrets.token_bytes(32)
        self._local = is_loopback(settings.dashboard.host)
        self._writes = deque[float](maxlen=WRITES_A_MINUTE)

    @property
    def asks(self) -> bool:
        """Whether a token is demanded."""
        return self._token is not None

    def may_write(self, headers: Mapping[str, str]) -> bool:
        """Whether who may read may also write remarks, and see what was refused: on loopback, or with the token.

        What comes through a proxy is not from this machine, though it reaches the page on loopback.
        """
        return self.asks or (self._local and not any(name in headers for name in FORWARDED))

    def right_host(self, host: str) -> bool:
        """Whether the name that was asked for may lead here."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return not (self._local and not self.asks) or name in LOCAL_NAMES

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the token, or a cookie of a login."""
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._is_signed(cookie.value)

    def is_token(self, given: str) -> bool:
        """Compare in constant time."""
        expected = (self._token or "").encode()
        return hmac.compare_digest(given.encode("utf-8", "replace"), expected)

    def cookie(self, secure: bool) -> str:
        """The value of Set-Cookie after a login."""
        until = str(int(time.time()) + SESSION_S)
        flags = "HttpOnly; SameSite=Strict; Path=/" + ("; Secure" if secure else "")
        return f"{COOKIE}={until}.{self._signature(until)}; Max-Age={SESSION_S}; {flags}"

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def _is_signed(self, value: str) -> bool:
        until, _, signature = value.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(until).encode()):
            return False
        return until.isdecimal() and int(until) > time.time()

    def count_write(self) -> bool:
        """Whether one more remark may be written now; at most so many a minute are."""
        now = time.monotonic()
        if len(self._writes) == WRITES_A_MINUTE and now - self._writes[0] < 60:
            return False
        self._writes.append(now)
        return True
