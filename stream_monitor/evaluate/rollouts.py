"""Verdicts about a candidate: how often they are wrong, and how many of its requests they take.

Each cell has its mark. Of a wrong verdict the lower 95 % limit of its share must not exceed α; of a right one the lower
limit of the median number of requests must not exceed 1.25 times what the design of the bets was measured to need.
Rows of others (`naive`, `mSPRT`) have no mark.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from stream_monitor.detect.bets import HARM, PASS
from stream_monitor.evaluate import rollout_runs as runs
from stream_monitor.evaluate.rollout_runs import Line, Traffic, Verdicts
from stream_monitor.evaluate.streams import Rng, seeded
from stream_monitor.profiles.pairs import MOST, distance_bins
from stream_monitor.rollouts.pair_guard import values_of
from stream_monitor.rollouts.plan import Guard
from stream_monitor.types import F64

Row = dict[str, Any]
Task = Callable[[], list[Row]]
SLACK = 1.25
"""Times the design's median that a median may be."""
MOST_RATIO = 1.6
"""Median over ln(1/α) / KL, in strata of 20 to 40."""
RAMP = np.repeat([0.05, 0.25, 0.5, 0.95], 100)
SEASON = 1 + 0.5 * np.sin(2 * np.pi * np.arange(400) / 96)
FALSE = {"harm": HARM, "pass": PASS}
POWER = {(0.01, 0.02): 2_098, (0.05, 0.1): 396, (0.2, 0.25): 960, (0.01, 0.05): 232, (0.05, 0.06): 7_769,
         (0.2, 0.22): 6_239, (0.002, 0.006): 3_886}  # fmt: skip
"""Rates of both versions, and the design's median at equal arms in strata of 20."""
ROLLBACK = {(0.05, 0.1, 1): 232, (0.01, 0.02, 1): 1_212, (0.05, 0.25, 1): 28, (0.002, 0.02, 1): 166,
            (0.05, 0.1, 5): 338, (0.01, 0.02, 5): 1_794}  # fmt: skip
"""Rates and number of guards, and the design's median at 5 % of the traffic."""
PASSES = {(0.05, 1.1): 35_980, (0.05, 1.2): 8_564, (0.05, 1.5): 1_813, (0.01, 1.1): 198_719, (0.01, 1.2): 51_224,
          (0.01, 1.5): 9_508}  # fmt: skip
"""Rate and line, and the design's median for an equal candidate at half of the traffic."""
SPLITS = {(0.05, 0.06): 1_087, (0.05, 0.1): 62, (0.5, 0.6): 595}
LAWS: dict[str, tuple[Callable[[Rng, int], F64], int, int]] = {
    "lognormal(1)": (lambda rng, n: np.exp(rng.normal(size=n)), 106, 1_355),
    "lognormal(1.5)": (lambda rng, n: np.exp(1.5 * rng.normal(size=n)), 305, 3_536),
    "Pareto(2.1)": (lambda rng, n: rng.pareto(2.1, n) + 1, 47, 2_138),
}
"""How latencies are drawn, and the design's medians for 1.5 times the latency: by the mean, and by p99."""


def rollouts(rows: int, seed: int) -> list[Task]:
    """Tasks of all cells; `rows` runs of a cell of wrong verdicts, a quarter of that in the others."""
    few = max(rows // 4, 50)
    return [
        *(partial(_null, seed, rows, *cell) for cell in itertools.product((0.002, 0.01, 0.05, 0.2), range(3))),
        *(partial(_power, seed, few, pair) for pair in POWER),
        *(partial(_rollback, seed, few, cell) for cell in ROLLBACK),
        *(partial(_passes, seed, max(rows // 10, 50), cell) for cell in PASSES),
        *(partial(_values, seed, few, law) for law in LAWS),
        partial(_pairs, seed, rows),
        *(partial(_labels, seed, few, slow) for slow in (0.5, 1.0, 2.0)),
        partial(_lumps, seed, few),
        partial(_splits, seed, few),
    ]


def false_row(cell: str, rule: str, found: Verdicts, alpha: float | None = 0.05) -> Row:
    """A cell whose verdict is wrong; α None: no mark."""
    hits, n = int(found.reached.sum()), len(found.reached)
    lower, upper = stats.binomtest(hits, n).proportion_ci()
    ok = None if alpha is None else bool(lower <= alpha)
    return _row(cell, rule, found, (float(lower), float(upper)), (None, alpha, ok))


def right_row(cell: str, rule: str, found: Verdicts, design: float | None, mark: float | None = None) -> Row:
    """A cell whose verdict is right: limits of the median number of requests, and the mark."""
    until, n = np.sort(found.until), len(found.until)
    low, high = (int(stats.binom.ppf(q, n, 0.5)) for q in (0.025, 0.975))
    limits = float(until[max(low - 1, 0)]), float(until[min(high, n - 1)])
    mark = mark if mark is not None else None if design is None else SLACK * design
    return _row(cell, rule, found, limits, (design, mark, None if mark is None else bool(limits[0] <= mark)))


def _row(cell: str, rule: str, found: Verdicts, limits: tuple[float, float], mark: tuple[Any, Any, Any]) -> Row:
    median, p95 = (float(np.quantile(found.until, q, method="higher")) for q in (0.5, 0.95))
    return {
        "cell": cell, "rule": rule, "share": float(found.reached.mean()), "median": median, "p95": p95,
        "lower": limits[0], "upper": limits[1], "design": mark[0], "mark": mark[1], "ok": mark[2],
        "runs": len(found.reached),
    }  # fmt: skip


def _null(seed: int, rows: int, p: float, line: int) -> list[Row]:
    r, d = ((1.0, 0.0), (1.1, 0.0), (1.0, 0.005))[line]
    traffic = Traffic(200, RAMP, p * SEASON, r * p * SEASON + d)
    name = f"on the line {r:g} · {p:g}" + (f" + {d:g}" if d else "") + ", ramp, season: "
    found = []
    for side, s in FALSE.items():
        rng, of = seeded(seed, "null", p, line, side), Line(r, d, s)
        found.append(false_row(name + side, "bets", runs.rates(rng, rows, traffic, of)))
    if line == 0:
        rules = {"naive": runs.naive, "mSPRT": runs.msprt}
        found += [
            false_row(name + "harm", rule, run(rng, rows // 4, traffic, Line()), None) for rule, run in rules.items()
        ]
    return found


def _power(seed: int, rows: int, pair: tuple[float, float]) -> list[Row]:
    a, b = pair
    middle = (a + b) / 2
    bound = math.log(20) / (_kl(a, middle) + _kl(b, middle))
    strata = int(60 * bound / 20) + 5
    traffic = Traffic(20, np.full(strata, 0.5), np.full(strata, a), np.full(strata, b))
    name, rng = f"{a:g} → {b:g}, equal arms", seeded(seed, "power", a, b)
    return [
        right_row(name, "bets", runs.rates(rng, rows, traffic, Line()), POWER[pair], MOST_RATIO * bound),
        right_row(name, "mSPRT", runs.msprt(rng, rows, traffic, Line()), None),
    ]


def _kl(a: float, b: float) -> float:
    return a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))


def _rollback(seed: int, rows: int, cell: tuple[float, float, int]) -> list[Row]:
    a, b, guards = cell
    strata = np.ones(8_000)
    traffic = Traffic(100, 0.05 * strata, a * strata, b * strata)
    name, rng = f"{a:g} → {b:g} at 5 % traffic, margin 10 %", seeded(seed, "rollback", *cell)
    found = runs.rates(rng, rows, traffic, Line(1.1), guards)
    return [right_row(name + (f", {guards} guards" if guards > 1 else ""), "bets", found, ROLLBACK[cell])]


def _passes(seed: int, rows: int, cell: tuple[float, float]) -> list[Row]:
    p, r = cell
    strata = np.ones(8_000)
    traffic = Traffic(400, 0.5 * strata, p * strata, p * strata)
    found = runs.rates(seeded(seed, "passes", *cell), rows, traffic, Line(r, 0.0, PASS))
    return [right_row(f"{p:g}, equal, passes the line {r:g}", "bets", found, PASSES[cell])]


def _values(seed: int, rows: int, law: str) -> list[Row]:
    """A mean on bins whose borders lie 12 % apart above p99, and the share above p99."""
    (draw, by_mean, by_tail), rng = LAWS[law], seeded(seed, "values", law)
    base, big = np.sort(draw(rng, 10_000)), draw(rng, 500_000)
    body = np.unique(base[np.linspace(0, 9_999, 100).astype(int)])
    edges = np.concatenate([body[:-1], body[-2] * 1.12 ** np.arange(1, 14)])
    g = np.append(edges, edges[-1] * 1.12)

    def share(x: F64) -> F64:
        return np.bincount(np.searchsorted(edges, x), minlength=len(g)) / len(x)

    def tail(x: F64, border: float) -> F64:
        return np.array([(x <= border).mean(), (x > border).mean()])

    of, t = (g, float(share(base) @ g), float(share(base) @ g**2)), float(np.quantile(base, 0.99))
    same, above = share(big), tail(big, t)
    hits = (runs.RATES, float(above[1]), float(above[1]))
    found = []
    for side, s in FALSE.items():
        mean = runs.values(rng, rows, (same, same), of, RAMP, Line(side=s))
        p99 = runs.values(rng, rows, (above, tail(big * 1.2, 1.2 * t)), hits, RAMP, Line(side=s))
        found += [false_row(f"{law} {what}, ramp: {side}", "bets", run) for what, run in (("mean", mean), ("p99", p99))]
    five = np.full(3_000, 0.05)
    mean = runs.values(rng, rows // 3, (same, share(big * 1.5)), of, five, Line(1.1))
    p99 = runs.values(rng, rows, (above, tail(big * 1.5, 1.2 * t)), hits, five, Line())
    return [
        *found,
        right_row(f"{law} × 1.5 at 5 %: mean, margin 10 %", "bets", mean, by_mean),
        right_row(f"{law} × 1.5 at 5 %: p99, margin 20 %", "bets", p99, by_tail),
    ]


def _pairs(seed: int, rows: int) -> list[Row]:
    """Cells are shares of (both right, only the candidate wrong, only the primary wrong, both wrong)."""
    rng, errors = seeded(seed, "pairs"), partial(_pair_guard, "error")
    agrees, distances = _pair_guard("agrees", "5pp"), _pair_guard("absolute_error", "1")
    equal, on_line, differ = (0.93, 0.02, 0.02, 0.03), (0.925, 0.025, 0.02, 0.03), (0.95, 0.05)
    cells: list[tuple[str, Guard, Sequence[float] | F64, int]] = [
        ("equal", errors("0"), equal, 1), ("on the line 1.1", errors("10%"), on_line, 1),
        ("lumps of 10, equal", errors("0"), equal, 10), ("5 % differ, line 5 %", agrees, differ, 1),
        ("distances on the line", distances, _shares_of_distances(rng, distances, 1.0), 1),
    ]  # fmt: skip
    found = [
        false_row(f"pairs, {name}: {side}", "bets", runs.pairs(rng, _rows(guard, rows), guard, cell, s, 1_500, lump))
        for (name, guard, cell, lump), (side, s) in itertools.product(cells, FALSE.items())
    ]
    worse = runs.pairs(rng, rows, errors("0"), (0.9, 0.05, 0.02, 0.03), HARM, 1_500)
    more = runs.pairs(rng, rows // 4, agrees, (0.9, 0.1), HARM, 1_500)
    farther = runs.pairs(rng, rows // 4, distances, _shares_of_distances(rng, distances, 3.0), HARM, 1_500)
    return [
        *found,
        right_row("pairs, 0.05 → 0.08", "bets", worse, 560, 700),
        right_row("pairs, 10 % differ, line 5 %", "bets", more, None),
        right_row("pairs, 3 farther, line 1", "bets", farther, None),
    ]


def _rows(guard: Guard, rows: int) -> int:
    """Distances have 121 bins, so they take longer."""
    return rows // 4 if guard.measure == "absolute_error" else rows


def _pair_guard(measure: str, margin: str) -> Guard:
    return Guard.model_validate({"measure": measure, "margin": margin})


def _shares_of_distances(rng: Rng, guard: Guard, mean: float) -> F64:
    """Shares of the bins of differences whose mean, on the bins, is the given one: two heavy tails around 0."""
    differences = np.exp(rng.normal(size=200_000)) * rng.choice([-1.0, 1.0], 200_000)
    bins = distance_bins(differences, rng.random(len(differences)))
    shares = np.bincount(bins + MOST, minlength=2 * MOST + 1) / len(differences)
    values = values_of(guard)[1]
    more = np.zeros(len(shares))
    more[values == 4.0] = (mean - shares @ values) / 4.0
    return np.asarray(shares * (1 - more.sum()) + more)


def _labels(seed: int, rows: int, slow: float) -> list[Row]:
    p, weights, name = 0.05 * SEASON[:300], RAMP[:300], f"labels {slow:g} × as slow: "
    cells = (("harm at settle", HARM, False), ("pass at settle", PASS, False), ("harm of early labels", HARM, True))
    return [
        false_row(name + what, "bets", runs.labels(seeded(seed, slow, what), rows, p, weights, slow, side, early))
        for what, side, early in cells
    ]


def _lumps(seed: int, rows: int) -> list[Row]:
    """Requests that are drawn ten at a time, and all err or none."""
    half, p = np.full(400, 0.5), np.full(400, 0.05)
    lumps, ramp = Traffic(400, half, p, p, 10), Traffic(200, RAMP, p * SEASON, 1.1 * p * SEASON, 10)
    return list(_lump_rows(seed, rows, lumps, ramp))


def _lump_rows(seed: int, rows: int, lumps: Traffic, ramp: Traffic) -> Iterator[Row]:
    for side, s in FALSE.items():
        rng = seeded(seed, "lumps", side)
        yield false_row(f"lumps of 10, f 1: {side}", "bets, f 1", runs.rates(rng, rows, lumps, Line(side=s)), None)
        yield false_row(f"lumps of 10: {side}", "bets", runs.rates(rng, rows, lumps, Line(side=s, measured=True)))
        of = Line(1.1, 0.0, s, measured=True)
        yield false_row(f"lumps of 10, ramp, season: {side}", "bets", runs.rates(rng, rows, ramp, of))
    single, rng = Traffic(40, lumps.weights, lumps.primary, 2 * lumps.primary), seeded(seed, "single")
    free = runs.rates(rng, rows, single, Line())
    measured = runs.rates(rng, rows, single, Line(measured=True))
    yield right_row("0.05 → 0.1, f 1", "bets, f 1", free, 403)
    yield right_row("0.05 → 0.1, f measured", "bets", measured, 485, 1.3 * float(np.median(free.until)))


def _splits(seed: int, rows: int) -> list[Row]:
    rng, alpha = seeded(seed, "splits"), 0.001
    found = [
        false_row(f"split as decided, {w:g}", "bets", runs.splits(rng, rows, w, w, 2_000, alpha), alpha)
        for w in (0.05, 0.5)
    ]
    return found + [
        right_row(f"split {true:g} for {w:g}", "bets", runs.splits(rng, rows, w, true, 2_000, alpha), design)
        for (w, true), design in SPLITS.items()
    ]
