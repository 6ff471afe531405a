"""Results as tables, and as a picture of delay against false alarms."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import isfinite, log10

from stream_monitor.evaluate.protocol import Row
from stream_monitor.terminal import Column, Table

Results = dict[str, list[Row]]
COLUMNS = {
    "null": ("stream", "pane", "nominal", "arl0", "lower", "alarms", "ok"),
    "delay": (
        "detector", "baseline", "step", "mean", "lower", "upper", "p95", "found", "dstar_ratio", "false_alarms_per_1e6",
        "runs", "mark", "ok",
    ),
    "labelled": ("detector", "changes", "recall", "f1", "delay", "false_per_1e4"),
    "practice": (
        "pace", "fault", "found", "minutes", "events", "mark", "in_time", "incidents", "false", "ok",
    ),
    "rollouts": ("cell", "rule", "share", "median", "p95", "lower", "upper", "design", "mark", "ok"),
    "windows": (
        "test", "data", "n", "features", "segments", "shift", "tolerance", "level", "share", "lower", "upper", "ok",
    ),
}  # fmt: skip
TITLES = {
    "null": "A. No change: values between false alarms (lower: 95 % limit)",
    "delay": "B. Values from a change to its alarm (lower, upper: 95 % limits of the mean of those found)",
    "labelled": "C. Streams with marked changes (found: rang within 2,000 values; delay: mean of those found)",
    "practice": "Practice: from a fault to its alert, default settings (medians; mark in minutes; in_time: share)",
    "rollouts": "Rollouts: share of runs with a verdict, the candidate's requests until it (95 % limits of the marked)",
    "windows": "Window tests: share of windows with any rejection (95 % limits; edge: effects as tolerated)",
}
NAMES = ("detector", "stream", "step", "test", "data", "tolerance", "pace", "fault", "cell", "rule")
"""Columns that hold no figures."""
HEADINGS = {"dstar_ratio": "/ D*", "false_alarms_per_1e6": "false/1e6", "false_per_1e4": "false/1e4"}
PALETTE = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")


def strict(results: Results) -> Results:
    """The same with null where there is no number: JSON knows no NaN, the mean of nothing found."""
    return {
        section: [{k: None if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()} for row in rows]
        for section, rows in results.items()
    }


def marks_kept(results: Results) -> list[bool]:
    """Of each row with a mark, whether the mark is kept."""
    return [bool(row["ok"]) for rows in results.values() for row in rows if row.get("ok") is not None]


def tables(results: Results) -> Iterator[Table]:
    """A table a section."""
    for section, rows in results.items():
        columns = [Column(HEADINGS.get(name, name), "name" if name in NAMES else "figure") for name in COLUMNS[section]]
        table = Table(columns, TITLES[section], _caption(rows))
        for row in rows:
            table.row(*(_cell(row[column]) for column in COLUMNS[section]))
        yield table


def _caption(rows: list[Row]) -> list[str]:
    """Of labelled streams: the changes that came too early for a detector."""
    early = [row for row in rows if row.get("early")]
    return [
        f"{row['detector']} makes its baseline of the first {row['learns']:,} values: {row['early']} of the "
        f"{row['changes']} marked changes lie among them, and are found after them or not at all"
        for row in early
    ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return str(value)


def picture(rows: list[Row], step: str = ".2→.3") -> str:
    """SVG: mean delay against false alarms per million values, both logarithmic; left and below is better."""
    points = [row for row in rows if row["step"] == step and isfinite(row["mean"])]
    marks = "".join(_point(row, PALETTE[i % len(PALETTE)]) for i, row in enumerate(points))
    grid = "".join(
        f'<text x="{_x(v):.0f}" y="395" text-anchor="middle">{v:g}</text>'
        f'<line x1="{_x(v):.0f}" y1="20" x2="{_x(v):.0f}" y2="380" stroke="#ddd"/>'
        for v in (1, 10, 100, 1_000)
    ) + "".join(
        f'<text x="55" y="{_y(v) + 4:.0f}" text-anchor="end">{v:g}</text>'
        f'<line x1="60" y1="{_y(v):.0f}" x2="580" y2="{_y(v):.0f}" stroke="#ddd"/>'
        for v in (30, 100, 300, 1_000, 3_000)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="720" height="430" font-family="sans-serif" font-size="12">'
        f'<rect width="720" height="430" fill="white"/>{grid}{marks}'
        f'<text x="320" y="418" text-anchor="middle">false alarms per million values</text>'
        f'<text x="60" y="14">mean delay in values, {escape(step)}</text></svg>\n'
    )


def _x(rate: float) -> float:
    return 60 + 520 * (log10(min(max(rate, 0.5), 2_000)) - log10(0.5)) / (log10(2_000) - log10(0.5))


def _y(mean: float) -> float:
    return 380 - 360 * (log10(min(max(mean, 10), 5_000)) - 1) / (log10(5_000) - 1)


def _point(row: Row, colour: str) -> str:
    x, y = _x(row["false_alarms_per_1e6"]), _y(row["mean"])
    name = escape(f"{row['detector']}, {row['baseline']:,}" if row["detector"] == "cusum" else row["detector"])
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/><text x="{x + 8:.1f}" y="{y + 4:.1f}">{name}</text>'
    )
