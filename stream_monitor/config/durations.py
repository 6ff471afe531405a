"""Durations, windows and rates as people write them: `500ms`, `10s`, `5m`, `6h`, `7d`; `1h/5m`; `1 per week`."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer, PlainValidator

HOUR, DAY, WEEK = 3_600_000, 86_400_000, 7 * 86_400_000
"""Milliseconds."""
LONGEST = 36_500 * DAY
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def ms(value: Any) -> int:
    """Milliseconds of `500ms`, `10s`, `5m`, `6h` or `7d`; ValueError for anything else."""
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write 500ms, 10s, 5m, 6h or 7d")
    millis = float(match[1]) * _UNITS[match[2]]
    if millis > LONGEST:
        raise ValueError(f"{str(value)[:20]!r} is longer than a hundred years")
    return round(millis)


def format_duration(millis: int) -> str:
    """The shortest exact way to write a duration."""
    for unit, size in reversed(_UNITS.items()):
        if millis % size == 0 and (millis or unit == "ms"):
            return f"{millis // size}{unit}"
    raise AssertionError("every integer is a multiple of 1 ms")


Duration = Annotated[
    int,
    BeforeValidator(lambda v: v if isinstance(v, int) and not isinstance(v, bool) and v == 0 else ms(v)),
    PlainSerializer(format_duration, return_type=str),
]


class WindowSpec(NamedTuple):
    """Windows of `size` ms, one of which ends every `slide` ms; a tumbling window slides by its size."""

    size: int
    slide: int

    @classmethod
    def tumbling(cls, size: int) -> WindowSpec:
        """Windows that lie side by side."""
        return cls(size, size)

    def __str__(self) -> str:
        return format_duration(self.size) + ("" if self.slide == self.size else f"/{format_duration(self.slide)}")


def _pace(value: Any) -> WindowSpec:
    if isinstance(value, WindowSpec):
        return value
    size, slash, slide = str(value).partition("/")
    return WindowSpec(ms(size), ms(slide)) if slash else WindowSpec.tumbling(ms(size))


WindowPace = Annotated[WindowSpec, PlainValidator(_pace), PlainSerializer(str, return_type=str)]
"""`SIZE`, a tumbling window, or `SIZE/SLIDE`, a sliding one."""

_PERIODS = {"hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000, "month": 30 * 86_400_000}
_MOST = 1e9
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:per\s|/)\s*(hour|day|week|month)")


def _rate(value: Any) -> str:
    match = _RATE.fullmatch(str(value).strip())
    if match is None or not 0 < float(match[1]) <= _MOST:
        raise ValueError(
            f"{str(value)[:40]!r} is no rate above 0 and up to {_MOST:g}; write 1 per week, 0.5 per day or 2/month"
        )
    return f"{float(match[1]):g} per {match[2]}"


Rate = Annotated[str, BeforeValidator(_rate)]
"""`NUMBER per hour|day|week|month`, also `NUMBER/week`; a month is 30 days."""


def per_ms(rate: str) -> float:
    """How often a millisecond; ValueError for what is no rate."""
    number, _, period = _rate(rate).split()
    return float(number) / _PERIODS[period]
