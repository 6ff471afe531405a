"""Quiet hours, by the clocks of the zone."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.notify import QuietSettings
from stream_monitor.notify.quiet import quiet_until
from tests.effort import examples

BERLIN = "Europe/Berlin"


def epoch(text: str, zone: str = BERLIN, fold: int = 0) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def quiet(**given: Any) -> QuietSettings:
    return QuietSettings.model_validate({"from": "20:00", "to": "08:00", "zone": BERLIN} | given)


@pytest.mark.parametrize(
    ("given", "now", "until"),
    [
        ({}, "2026-12-01T19:59:59", None),
        ({}, "2026-12-01T20:00", "2026-12-02T08:00"),
        ({}, "2026-12-02T07:59:59", "2026-12-02T08:00"),
        ({}, "2026-12-02T08:00", None),
        ({"days": "mon-fri"}, "2026-12-04T22:00", "2026-12-05T08:00"),  # a Friday's night ends on Saturday
        ({"days": "mon-fri"}, "2026-12-05T22:00", None),
        ({"days": "sat,sun", "from": "00:00", "to": "24:00"}, "2026-12-05T12:00", "2026-12-07T00:00"),  # both days
        ({"days": "sat-mon", "from": "00:00", "to": "24:00"}, "2026-12-07T12:00", "2026-12-08T00:00"),
        ({"from": "12:00", "to": "12:00", "days": "wed"}, "2026-12-03T11:00", "2026-12-03T12:00"),
        ({"from": "09:00", "to": "17:00"}, "2026-12-01T08:59", None),
        ({"from": "09:00", "to": "17:00"}, "2026-12-01T16:59", "2026-12-01T17:00"),
        # clocks go forward on 29 March 2026 at 02:00, and back on 25 October 2026 at 03:00
        ({}, "2026-03-28T22:00", "2026-03-29T08:00"),
        ({"from": "01:00", "to": "02:30"}, "2026-03-29T01:30", "2026-03-29T03:30"),
        ({}, "2026-10-24T22:00", "2026-10-25T08:00"),
    ],
)
def test_quiet_hours(given: dict[str, Any], now: str, until: str | None) -> None:
    assert quiet_until(quiet(**given), epoch(now)) == (None if until is None else epoch(until))


def test_a_night_lasts_an_hour_less_in_spring_and_an_hour_more_in_autumn() -> None:
    hours = [(epoch(end) - epoch(begin)) / 3_600_000 for begin, end in (
        ("2026-03-28T20:00", "2026-03-29T08:00"), ("2026-10-24T20:00", "2026-10-25T08:00")
    )]  # fmt: skip
    assert hours == [11, 13]
    assert quiet_until(quiet(), epoch("2026-03-29T07:59")) == epoch("2026-03-29T08:00")
    assert quiet_until(quiet(), epoch("2026-10-25T02:30", fold=1)) == epoch("2026-10-25T08:00")


@given(
    st.integers(epoch("2026-01-01T00:00"), epoch("2027-01-01T00:00")),
    st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.sampled_from(["mon-fri", "sat,sun", "mon-sun", "fri-mon"]),
    st.sampled_from([("20:00", "08:00"), ("00:00", "24:00"), ("12:15", "13:00"), ("02:30", "02:15")]),
)
@examples(200)
def test_quiet_hours_end_later_and_nothing_is_quiet_then(now: int, zone: str, days: str, span: tuple[str, str]) -> None:
    hours = quiet(zone=zone, days=days, **{"from": span[0], "to": span[1]})
    until = quiet_until(hours, now)
    if until is not None:
        always = days == "mon-sun" and span == ("00:00", "24:00")
        assert now < until <= now + 11 * 86_400_000 and (always or quiet_until(hours, until) is None)
