"""`stream-monitor evaluate`, as the command line shows it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_monitor.cli.options import output_option, require_distinct_paths
from stream_monitor.terminal import Screen

if TYPE_CHECKING:
    from stream_monitor.evaluate.report import Results

MOST_JOBS = 8
"""By default; memory is what runs short on larger machines."""


def evaluate(
    file: Annotated[
        Path | None,
        typer.Argument(exists=True, dir_okay=False, help="your own stream: NDJSON or CSV with value, and change 0/1"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="a minute or two: rough figures")] = False,
    seeds: Annotated[int | None, typer.Option(min=2, help="runs of a delay cell")] = None,
    only: Annotated[list[str] | None, typer.Option(help="null, delay, labelled, windows, practice, rollouts")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="processes, of up to 1.2 GB each; by default as many as cores, at most 8")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="end with 1 if a mark is missed")] = False,
    json_file: Annotated[Path | None, output_option("write the figures here", "--json")] = None,
    plot: Annotated[Path | None, output_option("draw delay against false alarms here (SVG)")] = None,
) -> None:
    """Measure detection quality: false alarms without change, delays, labelled streams, window tests.

    The whole is three quarters of an hour of one core, and the figures do not depend on how many there are. "ok": the
    95 % limits allow that a mark is kept: the nominal rate of false alarms, or the mean delay in the column "mark".

    `--only rollouts` measures the verdicts about a candidate: wrong ones on the line, and the requests that right ones
    take. `--only practice` alone runs whole streams through both stages with default settings, and takes hours; with
    `--quick` one stream a fault.

    Example: `stream-monitor evaluate --only delay --plot delay.svg`, `evaluate --only practice --strict`
    """
    from stream_monitor.evaluate.report import marks_kept, picture
    from stream_monitor.evaluate.run import SECTIONS, Plan, run

    if unknown := set(only or []) - set(SECTIONS):
        raise typer.BadParameter(f"no section {', '.join(sorted(unknown))}; sections are {', '.join(SECTIONS)}")
    if plot is not None and (file is not None or (only and "delay" not in only)):
        raise typer.BadParameter("--plot draws delays, which are not asked for")
    require_distinct_paths(json_file, filter(None, [file]))
    results: Results = {}
    plan, screen = Plan(quick, seeds, tuple(only or ()), file), Screen(stderr=True)
    with screen.progress("measuring", None, "share", brief=True) as bar:

        def show(done: int, total: int) -> None:
            bar.update(done, total)
            if not screen.is_terminal and done * 10 // total > (done - 1) * 10 // total:  # a log gets each tenth
                screen.line(f"{done} of {total} parts measured, {bar.elapsed:.0f} s")

        cells = run(plan, jobs or min(os.cpu_count() or 1, MOST_JOBS), show)
        for section, rows in cells:
            results[section] = rows
            with bar.aside():  # a table is not drawn through the bar
                _show({section: rows})
            if json_file is not None:  # now, lest the next section is interrupted
                _write(json_file, results)
    kept = marks_kept(results)
    if kept:
        screen.line(f"{sum(kept)} of {len(kept)} marks are kept")
    if plot is not None:
        plot.write_text(picture(results.get("delay", [])), encoding="utf-8")
    if strict and not all(kept):
        raise typer.Exit(1)


def _show(results: Results) -> None:
    from stream_monitor.evaluate.report import tables

    for table in tables(results):
        Screen().table(table)


def _write(path: Path, results: Results) -> None:
    from stream_monitor.evaluate.report import strict

    path.write_text(json.dumps(strict(results), indent=1, allow_nan=False), encoding="utf-8")
