"""The protocol: A streams without change, B delays, C labelled streams, and the window tests.

Each function returns rows for tables and JSON; every cell has its own seed, so any of them can be repeated alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from stream_monitor.evaluate import windows as window_cells
from stream_monitor.evaluate.contenders import Contender, Update, contenders, degenerate
from stream_monitor.evaluate.runs import Learned, OneByOne, SeasonLearned
from stream_monitor.evaluate.streams import NULL, STEPS, Rng, Step, daily_sine, frozen_model, limit, seeded
from stream_monitor.types import F64, Bool

Row = dict[str, Any]
MISSED = 5_000
"""A change that is not found within so many values is missed."""
ARL0 = 100_000.0
ROWS = 1_000
SEASONS = ((1_000, 1), (1_000, 4), (100, 1))
"""Values an hour, and weeks from which the hours are known."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is simulated."""

    seeds: int = 3_000
    nominal: tuple[float, ...] = (1e4, 1e5)
    null_runs: float = 1_000.0
    """Length of a null stream in nominal ARL0."""
    rate_values: float = 2.5e7
    """Values from which the false alarms beside a delay are measured."""
    baselines: tuple[int, ...] = (500, 2_000, 20_000)
    others: int = 100
    """Runs of detectors that take one value at a time."""
    slow: int = 5
    """Runs, and labelled streams, of those among them that take a thousand times as long."""
    windows: int = 1_000
    """Windows of 200 features; of one feature 200 times as many."""
    labelled: int = 20
    season_runs: int = 200
    """Runs that learn the hours of the week."""


QUICK = Effort(200, (1e3,), 200.0, 5e6, (2_000,), 10, 1, 10, 2, 10)


def arl0_limits(values: float, alarms: int) -> tuple[float, float]:
    """Mean time between false alarms and its lower 95 % limit (two-sided exact Poisson)."""
    return values / max(alarms, 1), float(values / (stats.chi2.ppf(0.975, 2 * alarms + 2) / 2))


def null(effort: Effort, seed: int) -> Iterator[Row]:
    """A: the measured mean time between false alarms, for panes of 1 and 10 values."""
    for nominal in effort.nominal:
        for name in NULL:
            for pane in (1, 10):
                rng = seeded(seed, "null", name, nominal, pane)
                source = NULL[name](rng, ROWS)
                learned = Learned(source(2_000), nominal, pane)
                count = int(np.ceil(effort.null_runs * nominal / ROWS / 1_000)) * 1_000
                alarms = learned.false_alarms(source, count)
                arl0, lower = arl0_limits(ROWS * count, alarms)
                yield {
                    "detector": "cusum", "stream": name, "pane": pane, "nominal": nominal, "arl0": arl0, "lower": lower,
                    "alarms": alarms, "values": ROWS * count,
                }  # fmt: skip


def seasons(effort: Effort, seed: int) -> Iterator[Row]:
    """A, with a daily sine: the rows know the hours of the week from so many weeks of so many values an hour."""
    for nominal in effort.nominal:
        for per_hour, weeks in SEASONS:
            for pane in (1, 10):
                rng = seeded(seed, "seasons", per_hour, weeks, nominal, pane)
                source = daily_sine(per_hour)(rng, effort.season_runs)
                learned = SeasonLearned(source(2_000), nominal, pane)
                learned.learn_hours(daily_sine(per_hour)(rng, effort.season_runs), per_hour, weeks)
                count = int(np.ceil(effort.null_runs * nominal / effort.season_runs / per_hour)) * per_hour
                alarms = learned.false_alarms(daily_sine(per_hour)(rng, effort.season_runs), count)
                arl0, lower = arl0_limits(effort.season_runs * count, alarms)
                yield {
                    "detector": "cusum", "stream": f"daily sine, seasonal baseline ({weeks} w, {per_hour:,} an hour)",
                    "pane": pane, "nominal": nominal, "arl0": arl0, "lower": lower, "alarms": alarms,
                    "values": effort.season_runs * count,
                }  # fmt: skip


def null_and_seasons(effort: Effort, seed: int) -> Iterator[Row]:
    """A: all streams without change."""
    yield from null(effort, seed)
    yield from seasons(effort, seed)


def delay(effort: Effort, seed: int) -> Iterator[Row]:
    """B: values from a change to the first alarm."""
    for baseline in effort.baselines:
        per_value = {name: _false_rate(effort, seed, name, baseline) for name in sorted({s.before for s in STEPS})}
        for step in STEPS:
            yield _row("cusum", baseline, step, _cusum_delays(effort, seed, step, baseline), per_value[step.before])
    for name, contender in contenders().items():
        runs = effort.slow if contender.slow else effort.others
        for step in STEPS if runs else []:
            if step.rate is not None or not contender.rates:
                delays, rate = _delays_of(contender.make, step, runs, seeded(seed, "delay", name, step.name))
                yield _row(name, 2_000, step, delays, rate)
    for step in STEPS:
        yield _row("limit D*", 2_000, step, np.full(1, limit(step, ARL0)), (1, ARL0))


def _false_rate(effort: Effort, seed: int, name: str, baseline: int) -> tuple[int, float]:
    rng = seeded(seed, "rate", name, baseline)
    source = NULL[name](rng, ROWS)
    count = int(np.ceil(effort.rate_values / ROWS / 1_000)) * 1_000
    return Learned(source(baseline), ARL0).false_alarms(source, count), float(ROWS * count)


def _cusum_delays(effort: Effort, seed: int, step: Step, baseline: int) -> F64:
    rng, found = seeded(seed, "delay", step.name, baseline), []
    for start in range(0, effort.seeds, ROWS):
        rows = min(ROWS, effort.seeds - start)
        learned = Learned(NULL[step.before](rng, rows)(baseline), ARL0)
        found.append(learned.delays(step.after(rng, rows), MISSED))
    return np.concatenate(found)


def _delays_of(make: Callable[[], Update], step: Step, runs: int, rng: Rng) -> tuple[F64, tuple[int, float]]:
    """Delays after 2,000 stable values, and the false alarms in these."""
    found, false = np.full(runs, np.nan), 0
    before, after = NULL[step.before](rng, runs)(2_000), step.after(rng, runs)(MISSED)
    for run in range(runs):
        update = make()
        false += sum(map(update, before[:, run].tolist()))
        found[run] = next((i + 1 for i, x in enumerate(after[:, run].tolist()) if update(x)), np.nan)
    return found, (false, float(before.size))


def _row(detector: str, baseline: int, step: Step, delays: F64, false: tuple[int, float]) -> Row:
    found = delays[~np.isnan(delays)]
    mean = float(found.mean()) if len(found) else float("nan")
    half = float(1.96 * found.std() / np.sqrt(max(len(found), 1))) if len(found) else float("nan")
    arl0 = false[1] / max(false[0], 1)
    return {
        "detector": detector, "baseline": baseline, "step": step.name, "mean": mean, "lower": mean - half,
        "upper": mean + half, "p95": float(np.quantile(found, 0.95)) if len(found) else float("nan"),
        "found": len(found) / len(delays), "dstar_ratio": mean / limit(step, arl0),
        "false_alarms_per_1e6": 1e6 * false[0] / false[1], "runs": len(delays),
    }  # fmt: skip


def labelled(effort: Effort, seed: int, own: tuple[F64, Bool] | None = None) -> Iterator[Row]:
    """C: errors of a frozen model (or a stream of the user's own) with marked changes."""
    streams = [own] if own else [frozen_model(seeded(seed, "labelled", i), 20_000) for i in range(effort.labelled)]
    are_rates = all(np.isin(values, (0.0, 1.0)).all() for values, _ in streams)
    ours = {"cusum": Contender(lambda: OneByOne(ARL0, 500).update)}
    for name, contender in (ours | contenders() | degenerate()).items():
        judged_streams = streams[: effort.slow] if contender.slow else streams
        if not judged_streams or (contender.rates and not are_rates):
            continue
        totals = np.zeros(4)
        for values, change in judged_streams:
            update = contender.make()
            rang = np.flatnonzero([update(x) for x in values.tolist()])
            totals += [*judged(rang, np.flatnonzero(change)), len(values)]
        found, false, changes, count = totals.tolist()
        recall, precision = found / max(changes, 1), found / max(found + false, 1)
        f1 = 2 * recall * precision / (recall + precision) if found else 0.0
        yield {
            "detector": name, "changes": int(changes), "recall": recall, "f1": f1, "false_per_1e4": 1e4 * false / count,
        }  # fmt: skip


def judged(rang: np.ndarray, changes: np.ndarray, within: int = 2_000) -> tuple[int, int, int]:
    """Changes found, false alarms, changes. The first alarm after a change, before the next and `within`, finds it."""
    owner = np.searchsorted(changes, rang, side="right") - 1
    near = (owner >= 0) & (rang - changes[owner] < within) if len(changes) else np.zeros(len(rang), np.bool_)
    found = len(np.unique(owner[near]))
    return found, len(rang) - found, len(changes)


def windows(effort: Effort, seed: int) -> Iterator[Row]:
    """The window tests: false rejections after the control over features, and power."""
    yield from window_cells.windows(effort.windows, seed)
