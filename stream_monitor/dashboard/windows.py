"""Windows of the store: which sizes there are, which one fits a range of time, and their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from stream_monitor.dashboard.packing import unpack_record
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.events.contracts import Health, Metric
from stream_monitor.profiles.names import ALL_SEGMENTS

DAY = 86_400_000
POINTS = 300
"""Windows that a view shows at most, where a longer size exists."""
MOST = 1_000
"""Windows that a view shows in any case; of more, the latest."""
DIGITS = 6

_decoder = msgspec.json.Decoder(Metric)


class UnknownName(Exception):
    """A model, version, segment, measure or id is not in the store. Its text says what is."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a view is about: a model, a version and a segment, a range [since, until) and a size of windows."""

    model: str
    version: str
    segment: str
    size: int
    since: int
    until: int
    cut: bool
    """Whether the range holds more than `MOST` windows, and only the latest are shown."""


class Closed(NamedTuple):
    """A window: its start and its records, merged."""

    start: int
    metric: Metric


def figure(value: float | None) -> float | None:
    """A number as the page gets it: six digits, and null for what is no number."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return float(f"{value:.{DIGITS}g}")


def sizes_of(store: Snapshot, model: str, performance: bool = False) -> list[int]:
    """The sizes of a model's windows (ms), the shortest first: of its judged windows, or of its performance windows."""
    wanted = "= 'performance'" if performance else "NOT IN ('performance', 'intake')"
    query = f"SELECT DISTINCT size FROM series WHERE model = ? AND kind {wanted} ORDER BY size"
    return [size for (size,) in store.rows(query, (model,))]


def versions_of(store: Snapshot, model: str) -> list[dict[str, int | str]]:
    """A model's versions, the one with the latest predictions first, of equal ones the one that answers more of them.

    The shortest windows tell: a day that has begun ends at one time for all versions of it, and labels of a version
    come in when it answers no more. Observations may come from a server that knows no version; they make none.
    """
    last = "(SELECT start FROM window WHERE series = series.id AND part = 1 ORDER BY start DESC LIMIT 1)"
    found: dict[str, tuple[bool, int, int]] = {}
    query = (
        f"SELECT version, kind, size, {last} AS start FROM series WHERE model = ? AND segment = ? "
        "AND kind NOT IN ('intake', 'observation') ORDER BY kind != 'traffic', size"
    )
    for version, kind, size, start in store.rows(query, (model, ALL_SEGMENTS)):
        if start is not None and version not in found:
            row = store.one(
                "SELECT count FROM window JOIN series ON window.series = series.id WHERE model = ? AND version = ? "
                "AND segment = ? AND kind = ? AND size = ? AND start = ? AND part = 1",
                (model, version, ALL_SEGMENTS, kind, size, start),
            )
            found[version] = kind == "traffic", start + size, (row or (0,))[0] or 0
    order = sorted(found, key=lambda version: (*(-x for x in found[version]), version))
    return [{"version": version, "until": found[version][1], "count": found[version][2]} for version in order]


def segments_of(store: Snapshot, model: str, version: str) -> list[str]:
    """The segments of a version, `all` first."""
    query = "SELECT DISTINCT segment FROM series WHERE model = ? AND version = ? ORDER BY segment"
    names = [segment for (segment,) in store.rows(query, (model, version))]
    return sorted(names, key=lambda name: (name != ALL_SEGMENTS, name))


def span_of(store: Snapshot, model: str, size: int) -> tuple[int, int] | None:
    """The start of a model's first window, and the end of its last one of a size (ms).

    The end is that of the shortest windows, because a day that has begun ends in the future.
    """
    first, last = (f"(SELECT {end}(start) FROM window WHERE series = series.id)" for end in ("MIN", "MAX"))
    query = (
        f"SELECT MIN({first}), MAX(CASE WHEN size = ? THEN {last} + size END) FROM series "
        "WHERE model = ? AND kind != 'intake'"
    )
    row = store.one(query, (size, model))
    return None if row is None or row[1] is None else (row[0], row[1])


def size_for(sizes: Sequence[int], span: int) -> int:
    """The shortest size of which at most `POINTS` windows cover a span (ms); the longest where none is so few."""
    return next((size for size in sizes if span <= size * POINTS), sizes[-1])


def choose(
    store: Snapshot,
    model: str,
    version: str | None = None,
    segment: str | None = None,
    span: int | None = None,
    until: int | None = None,
    performance: bool = False,
) -> Choice:
    """What a view shows: by default the version with the latest windows, all segments, and the last day or more.

    Args:
        store: the store.
        model: the model's name.
        version: of the model; None: the one with the latest windows.
        segment: None: all.
        span: ms before `until`; None: a day, or 300 of the shortest windows; 0: all there is.
        until: event time (epoch ms); None: the end of the last window.
        performance: whether the view shows performance windows.

    Raises:
        UnknownName: there is no such model, version or segment.
    """
    sizes, versions = sizes_of(store, model, performance), versions_of(store, model)
    whole = span_of(store, model, sizes[0]) if sizes else None
    if whole is None:
        raise UnknownName(f"no windows of a model {model!r}")
    names = [str(one["version"]) for one in versions]
    version = names[0] if version is None and names else version
    if version not in names:
        raise UnknownName(f"{model!r} has no version {version!r}; it has {', '.join(names)}")
    known = segments_of(store, model, version or "")
    segment = ALL_SEGMENTS if segment is None else segment
    if segment not in known:
        raise UnknownName(f"version {version!r} of {model!r} has no segment {segment!r}")
    begin, end = whole
    end = end if until is None else until
    span = max(DAY, POINTS * sizes[0]) if span is None else span or max(end - begin, sizes[0])
    since = max(end - span, begin)
    size = size_for(sizes, end - since)
    cut = end - since > MOST * size
    return Choice(model, version or "", segment, size, end - MOST * size if cut else since, end, cut)


def windows(store: Snapshot, choice: Choice, kind: str) -> list[Closed]:
    """The windows of a kind, oldest first; parts of a record are merged.

    Observations of another version stand in where there are none of the chosen one: a server may know no version.
    """
    query = (
        "SELECT start, record FROM window JOIN series ON window.series = series.id "
        "WHERE model = ? AND version = ? AND segment = ? AND kind = ? AND size = ? AND start + size > ? AND start < ? "
        "ORDER BY start, part"
    )
    version = _version_of_observations(store, choice) if kind == "observation" else choice.version
    values = choice.model, version, choice.segment, kind, choice.size, choice.since, choice.until
    found = list[Closed]()
    for start, packed in store.rows(query, values):
        metric = _decoder.decode(unpack_record(packed))
        if found and found[-1].start == start:
            found[-1].metric.measures.update(metric.measures)
        else:
            found.append(Closed(start, metric))
    return found


def _version_of_observations(store: Snapshot, choice: Choice) -> str:
    query = "SELECT version FROM series WHERE model = ? AND kind = 'observation' ORDER BY version != ?, id DESC"
    row = store.one(query, (choice.model, choice.version))
    return choice.version if row is None else row[0]


def health_records(store: Snapshot) -> list[tuple[Health, int]]:
    """The health record of each model, and its offset."""
    query = "SELECT record, offset FROM health WHERE NOT app ORDER BY model"
    return [(msgspec.json.decode(unpack_record(r), type=Health), offset) for r, offset in store.rows(query)]
