"""`stream-monitor dashboard`: serve the page until a signal."""

from __future__ import annotations

from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.run import listener_of, serve
from stream_monitor.telemetry import log_output
from stream_monitor.terminal import Screen


def run(settings: Settings, host: str | None, port: int | None, err: Screen) -> None:
    """Serve the page at the address of the settings, or at the one of the command line."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"dashboard": settings.dashboard.model_copy(update=given)})
    listener = listener_of(settings)
    log_output.configure(settings.log, "dashboard", 0)
    serve(settings, listener, lambda url: err.line(f"the page is at {url}"))
