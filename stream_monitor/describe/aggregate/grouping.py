"""Which cells an event falls into: models × versions × segments × panes, as small integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream_monitor.describe.aggregate.summarise import ProfileCells
from stream_monitor.describe.decode.columns import Coded, Spec, distinct
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.types import I64

ACCEPTED, DUPLICATE, LATE = 0, 1, 2
"""What became of a prediction; the columns of a cell's counts."""


@dataclass(slots=True)
class EventKeys:
    """n events: where each falls in event time, and what became of it."""

    models: Coded
    versions: Coded
    pane: I64
    status: I64
    segments: dict[Spec, Coded]


def group_events(events: EventKeys) -> ProfileCells:
    """Group events into cells, by model first; only accepted events are paired with their cells, all are counted."""
    version, versions = events.versions.codes, events.versions.names
    rows, codes, names = [np.arange(len(version))], [np.zeros(len(version), np.int64)], [ALL_SEGMENTS]
    for column in events.segments.values():
        code, values = column.codes, column.names
        there = np.flatnonzero(code >= 0)
        rows.append(there)
        codes.append(code[there] + len(names))
        names += values
    row, segment = np.concatenate(rows), np.concatenate(codes)
    pane, panes = _panes(events.pane)
    key = events.models.codes[row] * len(panes) + pane[row]
    key = (key * len(names) + segment) * max(len(versions), 1) + version[row]
    found, cell = distinct(key)
    status = events.status[row]
    counts = np.bincount(cell * 3 + status, minlength=3 * len(found)).reshape(-1, 3)
    accepted = status == ACCEPTED
    inner = found // (max(len(versions), 1) * len(names))
    return ProfileCells(
        model=inner // max(len(panes), 1),
        version=[versions[i] for i in found % max(len(versions), 1)],
        segment=[names[i] for i in found // max(len(versions), 1) % len(names)],
        pane=panes[inner % max(len(panes), 1)],
        counts=counts,
        row=row[accepted],
        cell=cell[accepted],
    )


def _panes(pane: I64) -> tuple[I64, I64]:
    """(of each event the number of its pane, the panes): starts of panes are multiples of their size."""
    if not len(pane):
        return pane, pane
    past = pane - pane.min()
    step = max(int(np.gcd.reduce(past)), 1)
    steps, code = distinct(past // step)
    return code, pane.min() + steps * step
