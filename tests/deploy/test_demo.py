"""The demo in containers has the settings of the demo on a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

from stream_monitor.config.settings import load
from stream_monitor.demo.feed import DAY, by_day
from stream_monitor.demo.flights import LEARN_UNTIL, PACKAGE, data
from stream_monitor.demo.show import settings

FILE = Path(__file__).parents[2] / "deploy" / "demo.yaml"


def test_the_settings_are_those_of_the_command() -> None:
    ours = load(FILE, environ={}).model_dump(exclude={"http"})
    assert ours == settings().model_dump(exclude={"http"})


def test_the_data_are_read_without_importing_their_package() -> None:
    weather = data("weather.csv")
    assert {"origin", "time_hour", "temp"} <= set(weather) and len(weather) > 26_000
    assert PACKAGE not in sys.modules


def test_events_are_fed_day_by_day() -> None:
    events = [("predictions", str(at), b'{"ts":%d}' % (LEARN_UNTIL + at * DAY // 2)) for at in range(5)]
    days = [(day, [name for _, name, _ in found]) for day, found in by_day(iter(events))]
    assert days == [(LEARN_UNTIL, ["0", "1"]), (LEARN_UNTIL + DAY, ["2", "3"]), (LEARN_UNTIL + 2 * DAY, ["4"])]
