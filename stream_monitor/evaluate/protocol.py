"""The protocol: A streams without change, B delays, C labelled streams, and the window tests.

A section is a list of tasks, each of which returns rows for tables and JSON. Every cell has its own seed: a task gives
the same alone, in any order and in any process.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from stream_monitor.evaluate import windows as window_cells
from stream_monitor.evaluate.competitors import Competitor, Update, competitors, degenerate
from stream_monitor.evaluate.runs import LearnedRows, OneByOne, SeasonLearned
from stream_monitor.evaluate.streams import NULL, STEPS, Rng, Step, daily_sine, errors, frozen_model, limit, seeded
from stream_monitor.types import F64, Bool

Row = dict[str, Any]
Task = Callable[[], list[Row]]
Stream = tuple[F64, Bool]
"""Values, and where they change."""
MISSED = 5_000
"""A change that is not found within so many values is missed."""
ARL0 = 100_000.0
ROWS = 1_000
KNOWN = 1_000_000
"""Values of a baseline that counts as known exactly. All runs share it; each sees 2,000 of its own before a change."""
LEAST_ARL0 = 0.9
"""Of the nominal one; the lower limit of what is measured must not be below."""
SEASONS = ((1_000, 1), (1_000, 4), (100, 1))
"""Values an hour, and weeks from which the hours are known."""
RARE = (0.001, 0.01)
"""Rates of rare errors, of which a baseline of 10,000 holds ten and a hundred."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is simulated."""

    seeds: int = 3_000
    nominal: tuple[float, ...] = (1e4, 1e5)
    null_runs: float = 1_000.0
    """Length of a null stream in nominal ARL0."""
    rate_values: float = 2.5e7
    """Values from which the false alarms beside a delay are measured."""
    baselines: tuple[int, ...] = (500, 2_000, 5_000, 20_000, KNOWN)
    others: int = 100
    """Runs of detectors that take one value at a time."""
    slow: int = 5
    """Runs, and labelled streams, of those among them that take a thousand times as long."""
    windows: int = 1_000
    """Windows of 200 features; of one feature 200 times as many."""
    labelled: int = 20
    season_runs: int = 200
    """Runs that learn the hours of the week."""
    practice: int = 10
    """Streams of a cell of the practice table."""
    rollouts: int = 4_000
    """Runs of a cell of wrong verdicts about a candidate."""


QUICK = Effort(200, (1e3,), 200.0, 5e6, (2_000,), 10, 1, 10, 2, 10, 1, 200)


class Mark(NamedTuple):
    """What a detector of this kind was measured to reach; the lower limit of a mean delay must not be above."""

    delays: dict[str, float]
    false_alarms_per_1e6: float


MARKS = {
    2_000: Mark({".2→.25": 1_250, ".2→.3": 330, ".2→.4": 98, ".2→.5": 51, ".2→.1": 270}, 10),
    5_000: Mark({".2→.25": 1_120, ".2→.3": 300, ".2→.4": 96, ".2→.5": 51, ".2→.1": 245}, 10),
    KNOWN: Mark({".2→.25": 900, ".2→.3": 270, ".2→.4": 91, ".2→.5": 48, ".2→.1": 230}, 12),
}
"""By values of the baseline."""


def arl0_limits(values: float, alarms: int) -> tuple[float, float]:
    """Mean time between false alarms and its lower 95 % limit (two-sided exact Poisson)."""
    return values / max(alarms, 1), float(values / (stats.chi2.ppf(0.975, 2 * alarms + 2) / 2))


def null(effort: Effort, seed: int) -> list[Task]:
    """A: the measured mean time between false alarms, for panes of 1 and 10 values; rare errors; a daily sine."""
    cells = itertools.product(effort.nominal, NULL, (1, 10))
    rare_cells = itertools.product(effort.nominal, RARE, (1, 10))
    season_cells = itertools.product(effort.nominal, SEASONS, (1, 10))
    return [
        *(partial(_null, effort, seed, *cell) for cell in cells),
        *(partial(_rare, effort, seed, *cell) for cell in rare_cells),
        *(partial(_seasonal, effort, seed, *cell) for cell in season_cells),
    ]


def _null(effort: Effort, seed: int, nominal: float, name: str, pane: int) -> list[Row]:
    rng = seeded(seed, "null", name, nominal, pane)
    source = NULL[name](rng, ROWS)
    learned = LearnedRows(source(2_000), nominal, pane)
    count = int(np.ceil(effort.null_runs * nominal / ROWS / 1_000)) * 1_000
    return [_null_row(name, pane, nominal, learned.false_alarms(source, count), ROWS * count)]


def _rare(effort: Effort, seed: int, nominal: float, rate: float, pane: int) -> list[Row]:
    """Runs whose baselines hold few errors, and differ much for it; after an alarm each goes back to its own."""
    rng = seeded(seed, "rare", rate, nominal, pane)
    source = errors(rate)(rng, ROWS)
    learned = LearnedRows(source(10_000), nominal, pane)
    count = int(np.ceil(effort.null_runs * nominal / ROWS / 1_000)) * 1_000
    alarms = learned.false_alarms(source, count, keep=False)
    return [_null_row(f"errors {rate:g}, a baseline of 10,000".replace("0.", "."), pane, nominal, alarms, ROWS * count)]


def _seasonal(effort: Effort, seed: int, nominal: float, known_from: tuple[int, int], pane: int) -> list[Row]:
    """The rows know the hours of the week from so many weeks of so many values an hour."""
    per_hour, weeks = known_from
    rng, sine, runs = seeded(seed, "seasons", per_hour, weeks, nominal, pane), daily_sine(per_hour), effort.season_runs
    learned = SeasonLearned(sine(rng, runs)(2_000), nominal, pane)
    learned.learn_hours(sine(rng, runs), per_hour, weeks)
    count = int(np.ceil(effort.null_runs * nominal / runs / per_hour)) * per_hour
    name = f"daily sine, seasonal baseline ({weeks} w, {per_hour:,} an hour)"
    return [_null_row(name, pane, nominal, learned.false_alarms(sine(rng, runs), count), runs * count)]


def _null_row(stream: str, pane: int, nominal: float, alarms: int, values: int) -> Row:
    arl0, lower = arl0_limits(values, alarms)
    return {
        "detector": "cusum", "stream": stream, "pane": pane, "nominal": nominal, "arl0": arl0, "lower": lower,
        "alarms": alarms, "values": values, "ok": lower >= LEAST_ARL0 * nominal,
    }  # fmt: skip


def delay(effort: Effort, seed: int) -> list[Task]:
    """B: values from a change to the first alarm."""
    befores = dict.fromkeys(step.before for step in STEPS)
    return [
        *(partial(_cusum, effort, seed, *cell) for cell in itertools.product(effort.baselines, befores)),
        *(partial(_contender, effort, seed, name) for name in competitors()),
        _limits,
    ]


def _cusum(effort: Effort, seed: int, baseline: int, before: str) -> list[Row]:
    """All changes of one stream, and its false alarms."""
    rate = _false_rate(effort, seed, before, baseline)
    steps = [step for step in STEPS if step.before == before]
    return [_row("cusum", baseline, step, _cusum_delays(effort, seed, step, baseline), rate) for step in steps]


def _contender(effort: Effort, seed: int, name: str) -> list[Row]:
    contender = competitors()[name]
    runs, rows = effort.slow if contender.slow else effort.others, []
    for step in STEPS if runs else []:
        if step.rate is not None or not contender.rates:
            delays, rate = _delays_of(contender.make, step, runs, seeded(seed, "delay", name, step.name))
            rows.append(_row(name, 2_000, step, delays, rate))
    return rows


def _limits() -> list[Row]:
    return [_row("limit D*", 2_000, step, np.full(1, limit(step, ARL0)), (1, ARL0)) for step in STEPS]


def _false_rate(effort: Effort, seed: int, name: str, baseline: int) -> tuple[int, float]:
    rng = seeded(seed, "rate", name, baseline)
    learned, source = _learned(rng, name, ROWS, baseline), NULL[name](rng, ROWS)
    count = int(np.ceil(effort.rate_values / ROWS / 1_000)) * 1_000
    return learned.false_alarms(source, count), float(ROWS * count)


def _learned(rng: Rng, name: str, rows: int, baseline: int) -> LearnedRows:
    if baseline < KNOWN:
        return LearnedRows(NULL[name](rng, rows)(baseline), ARL0)
    return LearnedRows(NULL[name](rng, rows)(2_000), ARL0, known=NULL[name](rng, 1)(baseline)[:, 0])


def _cusum_delays(effort: Effort, seed: int, step: Step, baseline: int) -> F64:
    rng, found = seeded(seed, "delay", step.name, baseline), []
    for start in range(0, effort.seeds, ROWS):
        rows = min(ROWS, effort.seeds - start)
        learned = _learned(rng, step.before, rows, baseline)
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
    mark = MARKS[baseline].delays.get(step.name) if detector == "cusum" and baseline in MARKS else None
    return {
        "detector": detector, "baseline": baseline, "step": step.name, "mean": mean, "lower": mean - half,
        "upper": mean + half, "p95": float(np.quantile(found, 0.95)) if len(found) else float("nan"),
        "found": len(found) / len(delays), "dstar_ratio": mean / limit(step, arl0),
        "false_alarms_per_1e6": 1e6 * false[0] / false[1], "runs": len(delays), "mark": mark,
        "ok": None if mark is None else _reached(mark, mean - half, MARKS[baseline].false_alarms_per_1e6, false),
    }  # fmt: skip


def _reached(mark: float, lower: float, most_false: float, false: tuple[int, float]) -> bool:
    """By the 95 % limits of both: later than the mark, or more false alarms, would be no chance."""
    alarms, values = false
    fewest = stats.chi2.ppf(0.025, 2 * alarms) / 2 if alarms else 0.0
    return bool(lower <= mark and fewest <= most_false * values / 1e6)


def labelled(effort: Effort, seed: int, own: Stream | None = None) -> list[Task]:
    """C: errors of a frozen model (or a stream of the user's own) with marked changes."""
    return [partial(_labelled, effort, seed, own, name) for name in _all_detectors()]


def _all_detectors() -> dict[str, Competitor]:
    return {"cusum": Competitor(lambda: OneByOne(ARL0, 500).update, learns=500)} | competitors() | degenerate()


def _labelled(effort: Effort, seed: int, own: Stream | None, name: str) -> list[Row]:
    contender = _all_detectors()[name]
    runs = effort.slow if contender.slow else effort.labelled
    streams = [own][:runs] if own else [frozen_model(seeded(seed, "labelled", i), 20_000) for i in range(runs)]
    if not streams or (contender.rates and not all(np.isin(values, (0.0, 1.0)).all() for values, _ in streams)):
        return []
    delays, changes, early, false, count = list[int](), 0, 0, 0, 0
    for values, change in streams:
        update, at = contender.make(), np.flatnonzero(change)
        late, more = judged(np.flatnonzero([update(x) for x in values.tolist()]), at)
        delays, changes, false, count = delays + late, changes + len(at), false + more, count + len(values)
        early += int((at < contender.learns).sum())
    found = len(delays)
    return [
        {
            "detector": name, "changes": changes, "early": early, "learns": contender.learns,
            "recall": found / changes if changes else None,
            "f1": 2 * found / (changes + found + false) if changes else None,
            "delay": sum(delays) / found if found else None, "false_per_1e4": 1e4 * false / count,
        }
    ]  # fmt: skip


def judged(rang: np.ndarray, changes: np.ndarray, within: int = 2_000) -> tuple[list[int], int]:
    """Delays of the changes that were found, and the number of false alarms.

    The first alarm after a change, before the next and `within` values, finds it; all others are false.
    """
    owner = np.searchsorted(changes, rang, side="right") - 1
    near = (owner >= 0) & (rang - changes[owner] < within) if len(changes) else np.zeros(len(rang), np.bool_)
    which, first = np.unique(owner[near], return_index=True)
    return (rang[near][first] - changes[which]).tolist(), len(rang) - len(which)


def windows(effort: Effort, seed: int) -> list[Task]:
    """The window tests: false rejections after the control over features, and power."""
    return window_cells.windows(effort.windows, seed)
