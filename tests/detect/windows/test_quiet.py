"""When the absence of events is silence: by what was expected, and by the pauses that are usual."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.detect.windows.quiet import LEAST, QuietRun


def feed(run: QuietRun, counts: list[int], whole: list[int] | None = None) -> list[bool]:
    """Whether the stream is silent after each of these windows of a minute; the first begins at 0."""
    pairs = enumerate(zip(counts, whole or counts, strict=True))
    return [run.observe(count, of, i * 60_000) for i, (count, of) in pairs]


@pytest.mark.parametrize(("rate", "windows"), [(600, 1), (3, 4), (1, 12)])
def test_a_stream_is_silent_once_twelve_events_were_expected(rate: int, windows: int) -> None:
    run = QuietRun()
    feed(run, [rate] * 100)
    assert feed(run, [0] * windows) == [False] * (windows - 1) + [True]
    assert run.since == 0 and run.expected >= LEAST


def test_nothing_is_silent_before_fifty_events_were_seen() -> None:
    run = QuietRun()
    feed(run, [7] * 7)
    assert not any(feed(run, [0] * 100))


def test_events_that_come_independently_are_seldom_called_silent() -> None:
    """200 streams of a week at one event in two minutes: exp(-12) of each of 5,000 gaps."""
    rng, rang = np.random.default_rng(3), 0
    for _ in range(200):
        run, silent = QuietRun(), False
        for count in rng.poisson(0.5, 10_080).tolist():
            now = run.observe(count, count, 0)
            rang, silent = rang + (now and not silent), now
    assert rang <= 24, "at most .12 a week"


def test_a_pause_every_night_is_usual_after_two_nights_and_one_outage_is_not() -> None:
    nights = QuietRun()
    for night in range(6):
        feed(nights, [20] * 18)
        assert any(feed(nights, [0] * 6)) == (night < 2)
    outages = QuietRun()
    feed(outages, [20] * 18 + [0] * 6 + [20] * 18)
    assert feed(outages, [0]) == [True]


def test_a_share_of_the_events_is_silent_when_the_others_go_on() -> None:
    """A tenth of 100 a window; and when nothing at all comes, nothing speaks against the share."""
    run = QuietRun()
    feed(run, [10] * 50, [100] * 50)
    assert feed(run, [0, 0], [100, 100]) == [False, True]
    other = QuietRun()
    feed(other, [1] * 60, [100] * 60)
    assert feed(other, [0] * 11, [100] * 11) == [False] * 11


def test_a_sliding_window_counts_each_expected_event_once() -> None:
    run = QuietRun()
    for at in range(60):
        run.observe(60, 60, at)
    assert [run.observe(0, 0, at, 0.1) for at in range(2)] == [False, True]
