"""The one door to Apprise, of the extra `notify-more`."""

from __future__ import annotations

import time

from stream_monitor.errors import SettingsError
from stream_monitor.notify.sinks.contract import AppriseCall, Response

MISSING = "a receiver of the kind apprise needs a package more: pip install 'stream-monitor[notify-more]'"


def require() -> None:
    """SettingsError where the package is not installed."""
    try:
        import apprise  # noqa: F401
    except ImportError as error:
        raise SettingsError(f"{MISSING} ({error})") from None


def call(request: AppriseCall) -> Response:
    """Give a message to Apprise: 200 where it was accepted, 404 where the url is none that it knows, else 500."""
    import apprise

    service = apprise.Apprise()
    status = 404
    if service.add(request.url):
        sent = service.notify(title=request.title, body=request.body, body_format=apprise.NotifyFormat.TEXT)
        status = 200 if sent else 500
    return Response(status, {}, b"", round(time.time() * 1000))
