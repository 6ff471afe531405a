"""`stream-monitor alerts tail` and `metrics tail`, as the command line shows them."""

from __future__ import annotations

from stream_monitor.cli.options import AsJson, Config, Follow, Last, Model, Since, millis
from stream_monitor.config.settings import load
from stream_monitor.terminal import Screen


def alerts(
    config: Config = None,
    follow: Follow = True,
    as_json: AsJson = False,
    model: Model = None,
    since: Since = None,
    last: Last = None,
) -> None:
    """Print alerts: those that are there in order of event time, then others as they come.

    Example: `stream-monitor alerts tail --model fraud --since 1d --no-follow`
    """
    from stream_monitor.commands.tail import ALERTS, TailOptions, run

    run(load(config), ALERTS, TailOptions(model, millis(since), last, follow, as_json), Screen(), Screen(stderr=True))


def metrics(
    config: Config = None,
    follow: Follow = True,
    as_json: AsJson = False,
    model: Model = None,
    since: Since = None,
    last: Last = None,
) -> None:
    """Print metrics: those that are there in order of their windows, then others as they come.

    A line is a window: how many events, how many of them have labels, the error, the 99th percentile of latency, and
    the measure that is furthest from its baseline. The last record of a window is the truth; `r` counts them.

    Example: `stream-monitor metrics tail --model fraud --last 20 --no-follow`
    """
    from stream_monitor.commands.tail import METRICS, TailOptions, run

    run(load(config), METRICS, TailOptions(model, millis(since), last, follow, as_json), Screen(), Screen(stderr=True))
