"""`stream-monitor alerts ack`, `mute` and `annotate`: write remarks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Literal

import msgspec

from stream_monitor.config.durations import ms
from stream_monitor.config.settings import Settings
from stream_monitor.errors import SettingsError, StreamMonitorError
from stream_monitor.events.contracts import Alert
from stream_monitor.events.remarks import Acknowledgement, Annotation, Mute, Remark, read_remark
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.writer import write_keyed
from stream_monitor.rejudge.explain import find
from stream_monitor.terminal import Screen
from stream_monitor.timestamps import when


def _now() -> int:
    return int(time.time() * 1000)


def _write(settings: Settings, remark: Remark) -> None:
    value = msgspec.json.encode(remark)
    try:
        read_remark(value)
    except msgspec.ValidationError as error:
        raise StreamMonitorError(f"no remark: {error}") from None
    write_keyed(settings, "remarks", remark.key().encode(), value)


Verdict = Literal["real", "false alarm", "known"]


def acknowledge(settings: Settings, wanted: str, verdict: Verdict, why: str, by: str, out: Screen) -> None:
    """Find the incident of an alert by its id, and acknowledge it."""
    alerts = [msgspec.json.decode(value, type=Alert) for value in tail(settings, "alerts", follow=False)]
    alert = find(alerts, wanted)[0]
    incident = alert.incident or alert.id
    remark = Acknowledgement(incident=incident, ts=_now(), by=by, verdict=verdict, why=why)
    _write(settings, remark)
    together = len({one.id for one in alerts if (one.incident or one.id) == incident})
    out.line(f"acknowledged: {alert.measure} of {alert.model}, an incident of {together} alert(s)")


def mute(
    settings: Settings,
    model: str,
    scope: Mapping[str, str | None],
    span: tuple[int | None, str],
    said: tuple[str, str],
    out: Screen,
) -> None:
    """Mute a model, or the part of it that the scope names.

    Args:
        settings: of the app.
        model: the model.
        scope: version, segment and measure; None: all.
        span: the begin (epoch ms of event time; None: now), and the length as a duration.
        said: why, and who says it.
        out: where the outcome is printed.
    """
    try:
        length = ms(span[1])
    except ValueError as error:
        raise SettingsError(f"--for: {error}") from None
    begin = _now() if span[0] is None else span[0]
    remark = Mute(
        id=uuid.uuid4().hex[:12], ts=_now(), by=said[1], why=said[0], model=model, from_ts=begin,
        until_ts=begin + length, version=scope["version"], segment=scope["segment"], measure=scope["measure"],
    )  # fmt: skip
    _write(settings, remark)
    out.line(f"muted: {scope['measure'] or 'everything'} of {model}, until {when(remark.until_ts)}")


def annotate(settings: Settings, model: str, text: str, at: int | None, by: str, out: Screen) -> None:
    """Write an annotation."""
    moment = _now() if at is None else at
    _write(settings, Annotation(id=uuid.uuid4().hex[:12], ts=_now(), by=by, model=model, at=moment, text=text))
    out.line(f"annotated: {model}, {when(moment)}")
