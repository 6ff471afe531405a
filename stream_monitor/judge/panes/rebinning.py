"""Moves counts from former edges of a measure to its active edges, approximately: by linear interpolation.

Tails are not moved. A window with moved counts of a measure has an incomplete tail of it, and its quantiles are
interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import rebin
from stream_monitor.judge.panes.pane import Pane, PanePart
from stream_monitor.judge.panes.tails import without_tails
from stream_monitor.judge.panes.windows import Window
from stream_monitor.profiles.bins import BINS, BinEdges
from stream_monitor.profiles.delta import Delta
from stream_monitor.types import F64, I64

Others = Mapping[str, Mapping[int, F64]]
"""By measure and version: edges that are not active."""


class Move(NamedTuple):
    """A move from old edges to new ones. If the old edges are unknown (None), their counts are left out."""

    old: F64 | None
    new: F64


class Bins(NamedTuple):
    """Sparse bins of rows: row r has `n[i]` values in bin `at[i]` for i in [ptr[r], ptr[r + 1])."""

    ptr: I64
    at: I64
    n: I64

    def moved(self, moves: Mapping[int, Move], low: F64, high: F64) -> Bins:
        """A copy with the bins of some rows moved. `low` and `high`: the smallest and largest value of each row."""
        row = np.repeat(np.arange(len(self.ptr) - 1), self.ptr[1:].astype(np.int64) - self.ptr[:-1])
        stay = ~np.isin(row, list(moves))
        rows, at, n = [row[stay]], [self.at[stay].astype(np.int64)], [self.n[stay].astype(np.int64)]
        for r, (old, new) in moves.items():
            span = slice(int(self.ptr[r]), int(self.ptr[r + 1]))
            if old is None or span.start == span.stop:
                continue
            counts = np.zeros(BINS, np.int64)
            counts[self.at[span]] = self.n[span]
            counts = rebin(counts, old, new, (float(low[r]), float(high[r])))
            used = np.flatnonzero(counts)
            rows.append(np.full(len(used), r))
            at.append(used)
            n.append(counts[used])
        order = np.argsort(row := np.concatenate(rows), kind="stable")
        ptr = np.searchsorted(row[order], np.arange(len(self.ptr)))
        return Bins(ptr, np.concatenate(at)[order], np.concatenate(n)[order])


def move_window(window: Window, measure: int, move: Move) -> None:
    """Move a window's counts of a measure to new edges."""
    table = window.numbers
    if move.old is None or measure >= table.n.shape[1]:
        return
    for group in np.flatnonzero(table.counts[:, measure].any(axis=1)).tolist():
        ends = float(table.low[group, measure]), float(table.high[group, measure])
        table.counts[group, measure] = rebin(table.counts[group, measure], move.old, move.new, ends)
        window.approximate.add(measure)
    window.tails.drop(measure)


def move_pane(pane: Pane, measure: int, move: Move) -> None:
    """Move a pane's counts of a measure to new edges, for the detectors."""
    rows = pane.numbers
    counted = np.flatnonzero((rows.measure == measure) & (np.diff(rows.bin_ptr) > 0))
    if len(counted):
        moves = dict.fromkeys(counted.tolist(), move)
        bins = Bins(rows.bin_ptr, rows.bin_at, rows.bin_n).moved(moves, rows.low, rows.high)
        rows.bin_ptr, rows.bin_at, rows.bin_n = bins


def on_present_edges(
    parts: Sequence[PanePart], edges: Mapping[str, BinEdges], former: Others
) -> tuple[list[PanePart], set[str]]:
    """The parts with their bins on the active edges, and the measures whose bins were moved to get there."""
    moved, names, done = list[PanePart](), set[str](), dict[int, Delta]()
    for part in parts:
        rows = part.delta.numeric
        stale = {
            place: Move(former.get(name, {}).get(version), edges[name].edges)
            for place, (name, version) in enumerate(zip(rows.names, rows.edges, strict=True))
            if version and name in edges and version != edges[name].version
        }
        if not stale:
            moved.append(part)
            continue
        names |= {rows.names[place] for place in stale}
        delta = done.get(id(part.delta)) or _moved(part.delta, stale)
        done[id(part.delta)] = delta
        moved.append(msgspec.structs.replace(part, delta=delta))
    return moved, names


def unknown_edges(parts: Sequence[PanePart], edges: Mapping[str, BinEdges], former: Others) -> set[str]:
    """The measures with bins on edges that are neither the active nor known former ones."""
    return {
        name
        for part in parts
        for name, version in zip(part.delta.numeric.names, part.delta.numeric.edges, strict=True)
        if version and name in edges and version != edges[name].version and version not in former.get(name, {})
    }


def _moved(delta: Delta, stale: Mapping[int, Move]) -> Delta:
    rows = delta.numeric
    moves = {row: stale[name] for row, name in enumerate(rows.name.tolist()) if name in stale}
    ptr, at, n = Bins(rows.bin_ptr, rows.bin_at, rows.bin_n).moved(moves, rows.low, rows.high)
    numeric = rows.replaced(bin_ptr=ptr, bin_at=at.astype(np.uint8), bin_n=n)
    return msgspec.structs.replace(delta, numeric=numeric, tails=without_tails(delta.tails, list(moves)))
