"""Which measures say nothing, and which say the same: from as many metrics as one can think of to those that matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stream_monitor.types import F64

OUTCOME = "outcome"
"""The group of errors and labels."""
LEAST_WINDOWS = 30
"""Windows below which nothing is said of a measure."""
SILENT = 0.5
"""A silent measure never was farther from its baseline than this multiple of what is tolerated."""
ALIKE = 0.9
"""Two measures with at least this |Spearman correlation| of their windows' means say the same."""


def reduction(view: dict[str, Any]) -> dict[str, Any]:
    """What of a model's view could be left out.

    silent: never above half of its tolerance, and no alert. redundant: groups of measures that move together, by
    average linkage of |Spearman|; the one with the most alerts stays, of equal ones the one with the fewest missing
    values. never_judged: too few values in every window; what has no baseline yet is not among them.

    Errors and labels are never ignored: that they stay where they are is what a quiet model has to say.
    """
    measures = [m for m in view["measures"] if m["kind"] != "rows"]
    alerts = {name: 0 for name in (m["name"] for m in measures)}
    for alert in view["alerts"]:
        if alert["measure"] in alerts:
            alerts[alert["measure"]] += 1
    silent, never = [], []
    for measure in measures:
        judged = [times for times in measure["times"] if times is not None]
        filled = sum(bool(n) for n in measure["n"])
        if not judged and filled >= LEAST_WINDOWS and measure["baseline"] is not None:
            never.append(measure["name"])
        elif len(judged) >= LEAST_WINDOWS and max(judged) <= SILENT and not alerts[measure["name"]]:
            silent.append({"name": measure["name"], "most": max(judged)})
    groups = _groups([m for m in measures if m["kind"] == "number"], alerts)
    removable = {one["name"] for one in silent} | {name for group in groups for name in group["others"]} | set(never)
    removable -= {m["name"] for m in measures if m["group"] == OUTCOME}
    return {
        "measures": len(measures),
        "silent": silent,
        "redundant": groups,
        "never_judged": never,
        "stay": [m["name"] for m in measures if m["name"] not in removable],
        "ignore": sorted(removable),
        "windows": len(view["times"]),
        "least": LEAST_WINDOWS,
    }


def _groups(measures: Sequence[dict[str, Any]], alerts: dict[str, int]) -> list[dict[str, Any]]:
    known = [m for m in measures if sum(x is not None for x in m["mean"]) >= LEAST_WINDOWS and len(set(m["mean"])) > 2]
    if len(known) < 2:
        return []
    r = correlations([m["mean"] for m in known])
    found = []
    for members in linkage(np.abs(r)):
        if len(members) > 1:
            chosen = [known[i] for i in members]
            order = sorted(chosen, key=lambda m: (-alerts[m["name"]], _missing(m), m["name"]))
            least = min(abs(float(r[i, j])) for i in members for j in members if i < j)
            names = [m["name"] for m in order]
            found.append({"stays": names[0], "others": names[1:], "r": round(least, 3)})
    return found


def _missing(measure: dict[str, Any]) -> float:
    shares = [x for x in measure["missing"] if x is not None]
    return sum(shares) / len(shares) if shares else 0.0


def correlations(columns: Sequence[Sequence[float | None]]) -> F64:
    """(C, C) Spearman's rank correlation of columns, over the windows in which both have a value; 0 of too few."""
    n = len(columns)
    r = np.eye(n)
    values = np.array([[np.nan if x is None else x for x in column] for column in columns], float)
    for i in range(n):
        for j in range(i):
            both = ~(np.isnan(values[i]) | np.isnan(values[j]))
            if both.sum() >= LEAST_WINDOWS:
                a, b = _ranks(values[i, both]), _ranks(values[j, both])
                if a.std() and b.std():
                    r[i, j] = r[j, i] = float(np.corrcoef(a, b)[0, 1])
    return r


def _ranks(values: F64) -> F64:
    """Ranks; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    mean: F64 = (ends - (counts - 1) / 2)[inverse]
    return mean


def linkage(alike: F64, least: float = ALIKE) -> list[list[int]]:
    """Groups by average linkage: the two groups that are most alike are joined, while they are so at least.

    >>> linkage(np.array([[1, 0.95, 0.1], [0.95, 1, 0.2], [0.1, 0.2, 1]]))
    [[0, 1], [2]]
    """
    groups = [[i] for i in range(len(alike))]
    while len(groups) > 1:
        pairs = [
            (float(alike[np.ix_(a, b)].mean()), i, j)
            for i, a in enumerate(groups)
            for j, b in enumerate(groups)
            if i < j
        ]
        best, i, j = max(pairs, key=lambda pair: (pair[0], -pair[1], -pair[2]))
        if best < least:
            break
        groups[i] += groups.pop(j)
    return [sorted(group) for group in groups]
