"""Admission of versions, segments and measures to a timeline when a pane closes: by count, then by name, up to a cap.

Without a cap, inputs could name any number of versions, segments and features. An admitted name stays admitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from stream_monitor.config.settings import CapSettings
from stream_monitor.judge.panes.open_panes import some_categories, some_numbers
from stream_monitor.judge.panes.pane import IdRegistry, PanePart, RowIndexCache
from stream_monitor.judge.panes.tails import some_tails
from stream_monitor.profiles.delta import CategoricalRows, NumericRows
from stream_monitor.profiles.names import ALL_SEGMENTS, OTHER
from stream_monitor.types import I64, Bool


def admit_groups(parts: Iterable[PanePart], ids: IdRegistry, caps: CapSettings) -> None:
    """Admit new (version, segment) pairs. A version that is not admitted is counted under `__other__`."""
    new: dict[tuple[str, str], int] = {}
    for part in parts:
        for cell in range(part.first, part.last):
            key = part.delta.version[cell], part.delta.segment[cell]
            if key not in ids.groups:
                new[key] = new.get(key, 0) + int(part.delta.counts[cell].sum())
    if not new:
        return
    versions = {version for version, _ in ids.groups} - {OTHER}
    for version, segment in sorted(new, key=lambda key: (-new[key], key)):
        known = version in versions or version == OTHER
        if (known or len(versions) < caps.versions) and len(ids.groups) < caps.segments:
            ids.group(version, segment)
            versions.add(version)
        elif segment == ALL_SEGMENTS:
            ids.group(OTHER, ALL_SEGMENTS)


def groups_of(part: PanePart, ids: IdRegistry) -> I64:
    """The group of each cell of a part: that of `__other__` for a version that is not admitted, -1 for a segment."""
    known, other = ids.groups, ids.groups.get((OTHER, ALL_SEGMENTS), -1)
    versions, segments = part.delta.version, part.delta.segment
    return np.array([
        known.get((versions[c], segments[c]), other if segments[c] == ALL_SEGMENTS else -1)
        for c in range(part.first, part.last)
    ], np.int64)  # fmt: skip


def admit_measures(parts: Sequence[PanePart], places: RowIndexCache, cap: int) -> list[PanePart]:
    """Admit new measures by count, then by name. Return the parts without the rows of other measures."""
    ids, new = places.ids, dict[str, int]()
    for part in parts:
        for rows in (part.delta.numeric, part.delta.categorical):
            if not places.admitted(rows.names):
                _count_new(rows, part, ids, new)
    if not new:
        return list(parts)
    for name in sorted(new, key=lambda name: (-new[name], name)):
        if len(ids.names) < cap:
            ids.names[name] = None
    return [_without(part, ids) for part in parts] if new.keys() - ids.names.keys() else list(parts)


def _count_new(rows: NumericRows | CategoricalRows, part: PanePart, ids: IdRegistry, new: dict[str, int]) -> None:
    new_indexes = [index for index, name in enumerate(rows.names) if name not in ids.names]
    if not new_indexes:
        return
    within = (rows.cell >= part.first) & (rows.cell < part.last)
    totals = np.bincount(rows.name[within], rows.n[within], len(rows.names))
    row_counts = np.bincount(rows.name[within], minlength=len(rows.names))
    for index in new_indexes:
        if row_counts[index]:
            new[rows.names[index]] = new.get(rows.names[index], 0) + int(totals[index])


def _without(part: PanePart, ids: IdRegistry) -> PanePart:
    numeric, categorical = part.delta.numeric, part.delta.categorical
    kept = _kept(numeric, ids)
    numeric, tails = some_numbers(numeric, kept), some_tails(part.delta.tails, kept)
    categorical = some_categories(categorical, _kept(categorical, ids))
    delta = msgspec.structs.replace(part.delta, numeric=numeric, categorical=categorical, tails=tails)
    return PanePart(delta, part.first, part.last)


def _kept(rows: NumericRows | CategoricalRows, ids: IdRegistry) -> Bool:
    admitted = np.array([name in ids.names for name in rows.names], np.bool_)
    return admitted[rows.name] if len(rows.name) else np.zeros(0, np.bool_)
