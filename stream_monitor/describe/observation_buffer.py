"""The observations of a commit: measures of systems, without predictions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stream_monitor.describe.decode.columns import Columns, merge, of_observations
from stream_monitor.events.contracts import Observation
from stream_monitor.types import I64


class ObservedColumns(NamedTuple):
    """All observations of a commit: one `Columns` a model, and the times of the rows."""

    columns: list[Columns]
    ts: I64
    before: I64
    """The largest earlier time of the row's partition."""


class ObservationBuffer:
    """Collects observations between commits."""

    def __init__(self) -> None:
        self._batches: list[tuple[I64, I64, list[Columns]]] = []
        self._size = 0

    def take(self, events: Sequence[Observation], ts: I64, before: I64) -> None:
        """Add a batch in log order. `before` is the largest earlier time of each event's partition."""
        rows: dict[str, list[int]] = defaultdict(list)
        for row, event in enumerate(events):
            rows[event.model].append(row)
        columns = [
            of_observations(model, [self._size + row for row in chosen], [events[row] for row in chosen])
            for model, chosen in rows.items()
        ]
        self._batches.append((ts, before, columns))
        self._size += len(events)

    def columns(self) -> ObservedColumns | None:
        """All that was taken, sorted by model; None when there is nothing."""
        if not self._batches:
            return None
        by_model: dict[str, list[Columns]] = defaultdict(list)
        for _, _, columns in self._batches:
            for part in columns:
                by_model[part.models.names[0]].append(part)
        ts, before = (np.concatenate([batch[i] for batch in self._batches]) for i in (0, 1))
        return ObservedColumns([merge(by_model[model]) for model in sorted(by_model)], ts, before)
