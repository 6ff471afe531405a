"""`python -m benchmarks.flights_year`: the demo's year of flights against the same hours of earlier weeks.

Nothing in this year is marked but one thing: the feed of kilometres from 1 July on, which is ours. As events whose days
are known from the data alone serve the ten days on which most departures were delayed by more than an hour, and as calm
months the three with the smallest mean delay. Everything else that rings did change (summer, holidays, days whose
weather is missing), or is a false alarm: nobody knows which.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from stream_monitor.config.durations import DAY, per_ms
from stream_monitor.config.settings import Settings
from stream_monitor.demo import flights
from stream_monitor.demo.show import settings as demo_settings
from stream_monitor.file_replay import replay
from stream_monitor.stages.contract import Output

KINDS = ("first", "rolling", "hour_of_week")
STORMS = 10
DELAYED_MINUTES = 60
CALM = 3
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 330, 45, 40, 30

Alert = dict[str, Any]


def settings(kind: str, budget: str) -> Settings:
    """The demo's, with CUSUMs on inputs too."""
    told = demo_settings()
    detection = told.detection.model_copy(update={"false_alarms": budget, "input": ("cusum",)})
    return told.model_copy(update={"detection": detection, "baseline": told.baseline.model_copy(update={"kind": kind})})


def storms() -> list[int]:
    """Starts (epoch ms) of the days after January with the largest shares of departures more than an hour late."""
    table = flights.data("flights.csv.zip")
    share = (table["dep_delay"] > DELAYED_MINUTES).groupby([table["month"], table["day"]]).mean()
    share = share[[month > 1 for month, _ in share.index]]
    return sorted(_day(month, day) for month, day in share.nlargest(STORMS).index)


def calm_months() -> list[str]:
    """The months after January with the smallest mean delay, as two digits."""
    table = flights.data("flights.csv.zip")
    delay = table[table["month"] > 1].groupby("month")["dep_delay"].mean()
    return [f"{month:02}" for month in sorted(delay.nsmallest(CALM).index)]


def _day(month: int, day: int) -> int:
    return int(datetime(2013, month, day, tzinfo=UTC).timestamp() * 1_000)


def year(rules: Settings, events: list[tuple[str, bytes]]) -> tuple[list[Alert], dict[int, float], Counter[str]]:
    """Alerts; the share of late flights by day of their prediction; names of baselines that judged."""
    alerts, late, names = list[Alert](), dict[int, float](), Counter[str]()

    def publish(output: Output) -> None:
        if output.role == "alerts":
            alerts.append(json.loads(output.value))
        elif output.role == "metrics":
            metric = json.loads(output.value)
            label = metric["measures"].get("label") if metric["kind"] == "performance" else None
            if label and metric["segment"] == "all" and label["n"]:
                late[metric["window_start"]] = label["mean"]
            if metric["kind"] == "traffic" and metric.get("baseline"):
                names[metric["baseline"]] += 1

    replay(rules, events, publish)
    return alerts, late, names


def told_of(alerts: list[Alert], bad: list[int], budget: str) -> dict[str, Any]:
    """Openings by measure and month, and what of them is explained by storms or kilometres."""
    opened = [a for a in alerts if a["status"] == "open"]
    table: dict[str, Counter[str]] = {}
    for alert in opened:
        month = datetime.fromtimestamp(alert["opened_ts"] / 1_000, UTC).strftime("%m")
        table.setdefault(alert["measure"], Counter())[month] += 1
    kilometres = [a["ts"] for a in opened if a["measure"] == "distance" and a["ts"] > flights.UNITS_START]
    first = min(kilometres, default=None)
    return {
        "opened": len(opened),
        "by_measure": {name: dict(sorted(months.items())) for name, months in sorted(table.items())},
        "in_calm_months": sum(counts[month] for counts in table.values() for month in calm_months()),
        "budget_of_calm_months": per_ms(budget) * CALM * 30 * DAY,
        "at_storms": sum(any(day <= a["opened_ts"] < day + DAY for day in bad) for a in opened),
        "storms_in_late_alert": _in_alert(alerts, bad),
        "days_in_late_alert": _in_alert(alerts, range(flights.LEARN_UNTIL, _day(12, 31) + 1, DAY)),
        "kilometres_after_hours": None if first is None else (first - flights.UNITS_START) / 3_600_000,
        "budget_of_the_year": per_ms(budget) * 334 * DAY,
    }


def _in_alert(alerts: list[Alert], days: Iterable[int]) -> int:
    """On how many of these days an alert on the label or the error was open."""
    late = [a for a in alerts if a["status"] == "open" and a["measure"] in ("label", "error")]
    return sum(any(_covers(alert, alerts, day) for alert in late) for day in days)


def _covers(opened: Alert, alerts: list[Alert], day: int) -> bool:
    """Whether an alert was open on a day."""
    ends = [a["ts"] for a in alerts if a["id"] == opened["id"] and a["status"] == "resolved"]
    return bool(opened["opened_ts"] < day + DAY and day < min(ends, default=2**62))


def picture(late: dict[int, float], alerts: list[Alert], bad: list[int]) -> str:
    """SVG: share of late flights by day, storm days as bars, openings of alerts as marks by measure."""
    days, top = sorted(late), max(late.values())

    def x(ts: float) -> float:
        return LEFT + (ts - days[0]) / (days[-1] - days[0]) * (WIDTH - LEFT - 15)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - share / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    parts += [f'<rect x="{x(d):.1f}" y="{TOP}" width="3" height="{HEIGHT - TOP - BOTTOM}" fill="#fdd"/>' for d in bad]
    for month in range(2, 13):
        at = x(_day(month, 1))
        parts.append(f'<text x="{at:.0f}" y="{HEIGHT - 10}">{month}</text>')
    for share in (0.2, 0.4, 0.6):
        parts.append(f'<text x="{LEFT - 5}" y="{y(share) + 4:.0f}" text-anchor="end">{share:.0%}</text>')
    path = " ".join(f"{x(day):.1f},{y(late[day]):.1f}" for day in days)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#1f77b4"/>')
    for alert in alerts:
        if alert["status"] == "open":
            outcome = alert["measure"] in ("label", "error")
            colour, height = ("#d62728", TOP - 4) if outcome else ("#888", TOP - 14)
            told = escape(f"{alert['measure']}: {alert['reason']}")
            parts.append(
                f'<circle cx="{x(alert["ts"]):.1f}" cy="{height}" r="3" fill="{colour}"><title>{told}</title></circle>'
            )
    head = "share of late flights by day; pink: the ten worst days; red: alerts on label and error, grey: others"
    parts.append(f'<text x="{LEFT}" y="14">{head}</text>')
    size = f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>' + "".join(parts) + "</svg>\n"


def main() -> None:
    """Run the year by every kind of baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="1 per week", help="detection.false_alarms")
    parser.add_argument("--plot", type=Path, help="write the picture of hour_of_week here (SVG)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    wanted = parser.parse_args()
    events, bad = [(role, raw) for role, _, raw in flights.events()], storms()
    print("worst days:", ", ".join(datetime.fromtimestamp(d / 1_000, UTC).strftime("%d.%m.") for d in bad))
    results: dict[str, Any] = {}
    for kind in KINDS:
        alerts, late, names = year(settings(kind, wanted.budget), events)
        results[kind] = told_of(alerts, bad, wanted.budget) | {"baselines": dict(names)}
        print(f"\n{kind}: {results[kind]['opened']} alerts opened; {wanted.budget} allows "
              f"{results[kind]['budget_of_the_year']:.0f} false ones a year")  # fmt: skip
        for name, months in results[kind].pop("by_measure").items():
            results[kind].setdefault("by_measure", {})[name] = months
            print(f"  {name:<14}", " ".join(f"{month}:{count}" for month, count in months.items()))
        for name in (
            "in_calm_months",
            "budget_of_calm_months",
            "at_storms",
            "storms_in_late_alert",
            "days_in_late_alert",
            "kilometres_after_hours",
            "baselines",
        ):
            print(f"  {name.replace('_', ' ')}: {results[kind][name]}")
        if kind == "hour_of_week" and wanted.plot:
            wanted.plot.write_text(picture(late, alerts, bad), encoding="utf-8")
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
