"""The cells that an event falls into: models × versions × segments × panes, as small integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream_monitor.describe.aggregate.summarise import ProfileCells
from stream_monitor.describe.decode.columns import Coded, Spec, distinct
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.types import I64

ACCEPTED, DUPLICATE, LATE = 0, 1, 2
"""The status of an event; these are also the columns of a cell's counts."""


@dataclass(slots=True)
class EventKeys:
    """The keys of n events: model, version, segments and pane, and the status of each."""

    models: Coded
    versions: Coded
    pane: I64
    status: I64
    segments: dict[Spec, Coded]


def group_events(events: EventKeys) -> ProfileCells:
    """Group events into cells, sorted by model; all events are counted, only accepted ones are paired with cells."""
    version, versions = events.versions.codes, events.versions.names
    rows, codes, names = [np.arange(len(version))], [np.zeros(len(version), np.int64)], [ALL_SEGMENTS]
    for column in events.segments.values():
        code, values = column.codes, column.names
        present = np.flatnonzero(code >= 0)
        rows.append(present)
        codes.append(code[present] + len(names))
        names += values
    row, segment = np.concatenate(rows), np.concatenate(codes)
    pane, panes = _panes(events.pane)
    key = events.models.codes[row] * len(panes) + pane[row]
    key = (key * len(names) + segment) * max(len(versions), 1) + version[row]
    cells, cell = distinct(key)
    status = events.status[row]
    counts = np.bincount(cell * 3 + status, minlength=3 * len(cells)).reshape(-1, 3)
    accepted = status == ACCEPTED
    inner = cells // (max(len(versions), 1) * len(names))
    return ProfileCells(
        model=inner // max(len(panes), 1),
        version=[versions[i] for i in cells % max(len(versions), 1)],
        segment=[names[i] for i in cells // max(len(versions), 1) % len(names)],
        pane=panes[inner % max(len(panes), 1)],
        counts=counts,
        row=row[accepted],
        cell=cell[accepted],
    )


def _panes(pane: I64) -> tuple[I64, I64]:
    """The index of each event's pane, and the starts of the panes, which are multiples of the pane size."""
    if not len(pane):
        return pane, pane
    past = pane - pane.min()
    step = max(int(np.gcd.reduce(past)), 1)
    steps, code = distinct(past // step)
    return code, pane.min() + steps * step
