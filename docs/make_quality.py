"""Writes docs/quality.md and docs/quality.svg from what was measured.

make evaluate ARGS="--json figures.json"
python docs/make_quality.py figures.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stream_monitor.evaluate.protocol import KNOWN, LEAST_ARL0, MARKS
from stream_monitor.evaluate.report import picture
from stream_monitor.evaluate.streams import STEPS

Row = dict[str, Any]
HERE = Path(__file__).parent
HEAD = """# Detection quality, measured

Made by `make evaluate ARGS="--json figures.json"`, which takes three quarters of an hour of one core, and
`python docs/make_quality.py figures.json`. Each cell has seeds of its own and can be repeated alone.
[detection](detection/README.md) says how the detectors work, what they assume, and on which other seeds and changes the
constants were chosen.

In what follows "lower" is a 95 % limit, and a mark counts as kept where the limits allow it.

"""
NULL = """## Without a change

`cusum`, a baseline of 2,000 values where no other is named, no change: values between alarms over the nominal number
[lower limit], in panes of 1 and of 10 values. A cell is a thousand times the nominal number. The mark is a lower limit
of {least:g}; it is kept in {kept} of {cells} cells.

"""
DELAY = """## From a change to its alarm

`cusum` at a nominal ARL0 of 1e5, panes of one value, {runs:,} runs a cell: mean delay in values [share found within
5,000, where it is not 1] and its lower limit; the mark; the ratio to D* at the same measured rate of false alarms, and
these per million values. D* is the optimum of a detector that knows both sides. Marks are what the best known detector
of the kind reached; {kept} of {cells} are kept. "Known" is a baseline of a million values, and 2,000 of the run's own.

"""
SIZES = """
All steps by the values of the baseline, mean delay [share found within 5,000 values, where it is not 1]:

"""
SIDE = """
![Mean delay against false alarms, .2→.3](quality.svg)

All detectors side by side, after 2,000 values: mean delay [share found within 5,000, where it is not 1], and false
alarms per million values before the change, at a rate of .2. Others than `cusum` run by their defaults, those for
errors see no normals, and few runs tell little of few false alarms. D* is the limit at an ARL0 of 1e5, of a ramp that
of the step to its end: who is faster pays in false alarms. Our `page_hinkley` has another delta than River's, and
usually sees values standardised by a baseline; here both see raw ones.

"""
LABELLED = """
## Errors with marked changes

Streams of 20,000 errors of a frozen model whose data change. The first alarm within 2,000 values finds a change,
all others are false; the delay is the mean of those found, in values.

"""
WINDOWS = """
## Window tests

Per cent of windows with any rejection at a nominal 5 %, without an effect, after Benjamini-Hochberg over the features,
each of which has a baseline of 10,000 values drawn anew; the last column is the power at .1 σ, 5,000 values and a
nominal 1 %. The marks, a share not above the nominal one at 5 and 1 % and a power of .9, are kept in {kept} of {cells}
cells: numbers, categories with a long tail, shares; effects of just the tolerance; twenty features in ten segments and
in all of them together.{missed}

"""


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def whole(value: float | None) -> str:
    return "never" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def found(row: Row | None) -> str:
    """The mean delay, and the share that was found."""
    if row is None:
        return ""
    return whole(row["mean"]) + (f" [{row['found']:.2f}]" if row["found"] < 0.995 and row["mean"] is not None else "")


def distinct(rows: Iterable[Row], key: str) -> list[Any]:
    return list(dict.fromkeys(row[key] for row in rows))


def over_nominal(row: Row) -> str:
    return f"{row['arl0'] / row['nominal']:.3g} [{row['lower'] / row['nominal']:.3g}]"


def null(rows: list[Row]) -> str:
    cells = {(row["stream"], row["nominal"], row["pane"]): row for row in rows}
    columns = [(nominal, pane) for nominal in distinct(rows, "nominal") for pane in distinct(rows, "pane")]
    text = NULL.format(least=LEAST_ARL0, kept=sum(row["ok"] for row in rows), cells=len(rows))
    return text + table(
        ["stream", *(f"nominal {nominal:,.0f}, pane {pane}" for nominal, pane in columns)],
        [
            [stream, *(over_nominal(cells[stream, *column]) for column in columns)]
            for stream in distinct(rows, "stream")
        ],
    )


def delay(rows: list[Row]) -> str:
    ours = {(row["baseline"], row["step"]): row for row in rows if row["detector"] == "cusum"}
    marked = [row for row in ours.values() if row["mark"] is not None]
    text = DELAY.format(
        runs=max(row["runs"] for row in marked), kept=sum(row["ok"] for row in marked), cells=len(marked)
    )
    false = {baseline: mark.false_alarms_per_1e6 for baseline, mark in MARKS.items()}
    text += table(
        ["baseline", "step", "delay", "mark", "/ D*", "false per 1e6 (mark)", "kept"],
        [
            [
                named(row["baseline"]),
                row["step"],
                f"{found(row)}; {whole(row['lower'])}",
                f"≤ {row['mark']:,}",
                f"{row['dstar_ratio']:.2f}",
                f"{row['false_alarms_per_1e6']:.1f} (≤ {false[row['baseline']]})",
                "yes" if row["ok"] else "**no**",
            ]
            for row in marked
        ],
    )
    baselines, steps = list(dict.fromkeys(baseline for baseline, _ in ours)), [step.name for step in STEPS]
    text += SIZES + table(
        ["baseline", *steps],
        [[named(baseline), *(found(ours[baseline, step]) for step in steps)] for baseline in baselines],
    )
    return text + SIDE + side_by_side([row for row in rows if row["baseline"] == 2_000], steps)


def side_by_side(rows: list[Row], steps: list[str]) -> str:
    cells = {(row["detector"], row["step"]): row for row in rows}
    names = sorted(distinct(rows, "detector"), key=lambda name: name != "limit D*")
    return table(
        ["detector", *steps, "runs", "false per 1e6"],
        [
            [
                name, *(found(cells.get((name, step))) for step in steps),
                f"{max(row['runs'] for row in rows if row['detector'] == name):,}", false_at(rows, name),
            ]
            for name in names
        ],
    )  # fmt: skip


def false_at(rows: list[Row], name: str) -> str:
    """Mean over the steps from .2: each has values of its own before it."""
    rates = [r["false_alarms_per_1e6"] for r in rows if r["detector"] == name and r["step"].startswith(".2→")]
    return whole(sum(rates) / len(rates)) if rates else ""


def named(baseline: int) -> str:
    return "known" if baseline >= KNOWN else f"{baseline:,}"


def labelled(rows: list[Row]) -> str:
    return LABELLED + table(
        ["detector", "recall", "F1", "delay", "false alarms per 1e4"],
        [
            [r["detector"], f"{r['recall']:.2f}", f"{r['f1']:.2f}", whole(r["delay"]), f"{r['false_per_1e4']:.2f}"]
            for r in rows
        ],
    )


def windows(rows: list[Row]) -> str:
    missed = [row for row in rows if not row["ok"] and not row["shift"]]
    kept = sum(row["ok"] for row in rows)
    told = "; ".join(
        f"`{r['test']}` on {r['data']}, n = {r['n']:,}, {r['features']} feature(s): {100 * r['share']:.3g} %"
        f" [{100 * r['lower']:.3g}] at {100 * r['level']:g} %"
        for r in missed
    )
    weak = "; ".join(f"the power of `{r['test']}`" for r in rows if r["shift"] and not r["ok"])
    told = "; ".join(filter(None, (told, weak)))
    text = WINDOWS.format(kept=kept, cells=len(rows), missed=f" Not kept: {told}." if told else "")
    plain = [
        r for r in rows if r["tolerance"] == "none" and not r["shift"] and not r["segments"] and r["level"] == 0.05
    ]
    kind = {r["test"]: r["data"] for r in reversed(plain)}  # of tests for both, numbers
    cells = {(r["test"], r["features"], r["n"]): r["share"] for r in plain if r["data"] == kind[r["test"]]}
    columns = [(features, n) for features in distinct(plain, "features") for n in (50, 1_000, 1_000_000)]
    power = {r["test"]: f"{r['share']:.3f}" for r in rows if r["shift"]}
    return text + table(
        ["test", *(f"{features} × n = {n:,}" for features, n in columns), "power"],
        [
            [test, *(f"{100 * cells[(test, *column)]:.1f}" for column in columns), power.get(test, "")]
            for test in distinct(plain, "test")
        ],
    )


SECTIONS: dict[str, Callable[[list[Row]], str]] = {
    "null": null, "delay": delay, "labelled": labelled, "windows": windows,
}  # fmt: skip


def page(results: dict[str, list[Row]]) -> str:
    """The page of these results."""
    if missing := SECTIONS.keys() - results.keys():
        raise SystemExit(f"not measured: {', '.join(sorted(missing))}; the page needs the whole of `evaluate`")
    return HEAD + "\n".join(make(results[name]) for name, make in SECTIONS.items())


if __name__ == "__main__":
    figures = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    (HERE / "quality.md").write_text(page(figures), encoding="utf-8")
    ours = [row for row in figures["delay"] if row["mean"] is not None]
    (HERE / "quality.svg").write_text(picture(ours), encoding="utf-8")
