"""`stream-monitor notify`: all receivers in this process, until a signal."""

from __future__ import annotations

import logging
import time

from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError
from stream_monitor.notify.overview import receiver_problems
from stream_monitor.notify.run import Notifier
from stream_monitor.service.check import settings_problems
from stream_monitor.service.supervisor import StopSignal
from stream_monitor.telemetry import log_output, ports
from stream_monitor.telemetry.http_server import serve
from stream_monitor.telemetry.notify_metrics import NotifyTelemetry

log = logging.getLogger(__name__)

ROLE = "notify"
STEP_S = 0.1


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; returns the exit code."""
    log_output.configure(settings.log, ROLE, 0)
    if wrong := settings_problems(settings) + receiver_problems(settings.notify):
        raise SettingsError("\n".join(wrong))
    notifier = Notifier(settings, NotifyTelemetry())
    stop = StopSignal()
    if settings.http.enabled:
        (listener,) = ports.listen(settings.http, [0])
        serve(settings.http, listener, notifier, ROLE)
        log.info("metrics of %s at %s/metrics", ROLE, ports.address(settings.http, listener))
    notifier.start()
    while not stop.is_set():
        time.sleep(STEP_S)
    notifier.close()
    log.info("stopped", extra={"role": ROLE, "worker": 0})
    return 0
