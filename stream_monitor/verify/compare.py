"""Comparison of the records on the topics with the records that the input demands."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from stream_monitor.config.durations import WindowSpec
from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import DeadLetter, Metric
from stream_monitor.profiles.names import OTHER
from stream_monitor.timestamps import to_the_second
from stream_monitor.verify.expected import ALL, Cell, Counts, Expected, Performance, Values
from stream_monitor.verify.pairs import differences
from stream_monitor.verify.published import Published

DIGITS = 1e-9
"""Sums depend on the order of adding; everything else is exact."""

T = TypeVar("T")
Window = tuple[str, str, str, int, int]


def compare(
    settings: Settings, truth: Expected, published: Published, settled: bool, judged: bool = True
) -> Iterator[str]:
    """One line for each record that is missing, extra, doubled or wrong.

    `settled`: no more input arrives and all partitions are idle, so open windows must be right too. `judged`: the judge
    has read all profiles, so the windows can be compared.
    """
    yield from _dead_letters(truth, published)
    yield from _traffic(truth, published)
    if not _folded(published):
        yield from _performance(truth, published)
        yield from differences(truth.pairs.counts, published.pairs)
    yield from _doubles(published)
    if judged:
        yield from _windows(settings, truth, published, settled)


def _folded(published: Published) -> bool:
    """Whether there were more models or versions than an app describes, so that some count under `__other__`."""
    return any(OTHER in cell[:2] for cell in published.traffic) or any(OTHER in key[:2] for key in published.metrics)


def _name(cell: tuple[str, str, str, int] | Window) -> str:
    model, version, segment, start, *_ = cell
    return f"{model} {version} {segment} {to_the_second(start)}"


def _dead_letters(truth: Expected, published: Published) -> Iterator[str]:
    summed: set[tuple[str, int, int]] = set()
    for letter in published.sums:
        place = f"{letter.topic}/{letter.partition}/{letter.offset} to {letter.last_offset}"
        found = _summed(truth, letter) - published.letters.keys()
        if len(found) != letter.count or found & summed:
            yield f"dead letters of {place}: {letter.count} {letter.reason}, expected {len(found - summed)}"
        summed |= found
    for key in sorted((truth.rejected.keys() | published.letters.keys()) - summed):
        wanted = [truth.rejected[key]] if key in truth.rejected else []
        reasons = published.letters.get(key, [])
        if reasons != wanted:
            topic, partition, offset = key
            yield f"dead letters of {topic}/{partition}/{offset}: {reasons or 'none'}, expected {wanted or 'none'}"


def _summed(truth: Expected, letter: DeadLetter) -> set[tuple[str, int, int]]:
    """The events for which a letter for several may stand."""
    offsets = range(letter.offset, (letter.last_offset or letter.offset) + 1)
    places = ((letter.topic, letter.partition, offset) for offset in offsets)
    return {place for place in places if truth.rejected.get(place) == letter.reason}


def _differing(
    wanted: Mapping[Cell, T], found: Mapping[Cell, T], none: T, same: Callable[[T, T], bool]
) -> Iterator[Cell]:
    return (
        cell for cell in sorted(wanted.keys() | found.keys()) if not same(wanted.get(cell, none), found.get(cell, none))
    )


def _traffic(truth: Expected, published: Published) -> Iterator[str]:
    """Compare deltas: their sum must equal the input."""
    wanted, found = truth.traffic, published.traffic
    if any(OTHER in cell[:2] for cell in found):
        wanted, found = _by_pane(wanted), _by_pane(found)
    for cell in _differing(wanted, found, Counts(), Counts.__eq__):
        yield f"profiles of {_name(cell)}: {found.get(cell, Counts())}, expected {wanted.get(cell, Counts())}"


def _by_pane(cells: Mapping[Cell, Counts]) -> dict[Cell, Counts]:
    summed: dict[Cell, Counts] = defaultdict(Counts)
    for (_, _, segment, pane), counts in cells.items():
        if segment == ALL:
            into = summed["*", "*", ALL, pane]
            into.accepted += counts.accepted
            into.duplicates += counts.duplicates
            into.late += counts.late
    return summed


def _performance(truth: Expected, published: Published) -> Iterator[str]:
    """Compare outcome deltas: their sum must equal the joins."""
    for cell in _differing(truth.performance, published.performance, Performance(), _same_performance):
        wanted, found = (side.get(cell, Performance()) for side in (truth.performance, published.performance))
        names = sorted(name for name in wanted.n.keys() | found.n.keys() if not _same_sum(wanted, found, name))
        what = "; ".join(
            f"{name}: n {found.n.get(name, 0)} sum {found.total.get(name, 0.0):.9g}, expected "
            f"n {wanted.n.get(name, 0)} sum {wanted.total.get(name, 0.0):.9g}"
            for name in names
        )
        yield f"joins of {_name(cell)}: {found.labelled} labelled, expected {wanted.labelled}" + (what and f"; {what}")


def _same_performance(wanted: Performance, found: Performance) -> bool:
    pairs = {pair: n for pair, n in wanted.pairs.items() if n} == {pair: n for pair, n in found.pairs.items() if n}
    sums = all(_same_sum(wanted, found, name) for name in wanted.n.keys() | found.n.keys())
    return pairs and sums and wanted.labelled == found.labelled


def _same_sum(wanted: Performance, found: Performance, name: str) -> bool:
    totals = wanted.total.get(name, 0.0), found.total.get(name, 0.0)
    parts = wanted.total.get("absolute_error", 0.0) if name == "bias" else 0.0  # signed values cancel each other
    return wanted.n.get(name, 0) == found.n.get(name, 0) and _close(*totals, max(parts, *map(abs, totals)))


def _close(a: float, b: float, scale: float) -> bool:
    return math.isclose(a, b, rel_tol=DIGITS, abs_tol=DIGITS * max(scale, 1.0))


def _doubles(published: Published) -> Iterator[str]:
    for (alert, status, revision), times in sorted(published.alerts.items()):
        if times > 1:
            yield f"alert {alert} {status} revision {revision} is there {times} times"
    for key, records in published.metrics.items():
        finals = sum(record.final for record in records)
        if finals > 1:
            yield f"{key[5]} of {_name(key[:5])}: {finals} final records"
        elif finals and not records[-1].final:
            yield f"{key[5]} of {_name(key[:5])}: a record came after the final one"


# --- windows ---


def _windows(settings: Settings, truth: Expected, published: Published, settled: bool) -> Iterator[str]:
    """Compare metrics: each final window must be the sum of its panes, and no window that must be closed is missing."""
    last = {key[:5]: records[-1] for key, records in published.metrics.items() if key[5] == "traffic" and key[6] == 1}
    parts: dict[Window, list[Metric]] = defaultdict(list)
    for key, records in published.metrics.items():
        if key[5] == "traffic":
            parts[key[:5]].append(records[-1])
    wanted = _sum_up(truth, settings.time.windows)
    if _folded(published) or any(record.after_idle for record in last.values()):
        yield from _totals(settings, truth, last.values(), settled)
        return
    closed = min(truth.watermarks.values(), default=0)
    newest = max(truth.watermarks.values(), default=0) + settings.time.allowed_lateness
    slide_of = dict(settings.time.windows)
    for window in sorted(wanted.keys() | last.keys()):
        counts, values = wanted.get(window, (Counts(), {}))
        record = last.get(window)
        if record is None:
            slide = slide_of[window[4] - window[3]]
            shown = (
                window[4] <= newest - newest % slide + slide
            )  # windows that slide on past the last event have no records
            if window[4] <= closed or (settled and shown):
                yield f"window {_name(window)}: no record, expected {counts}"
        elif record.final or settled:
            yield from _window(_name(window), counts, values, parts[window], settings.caps.measures)


def _sum_up(truth: Expected, paces: Iterable[WindowSpec]) -> dict[Window, tuple[Counts, dict[str, Values]]]:
    windows: dict[Window, tuple[Counts, dict[str, Values]]] = defaultdict(lambda: (Counts(), defaultdict(Values)))
    for size, slide in paces:
        for (*cell, pane), counts in truth.traffic.items():
            model, version, segment = cell
            first = pane - pane % slide + slide - size
            for start in range(first, pane + 1, slide):
                sums, values = windows[model, version, segment, start, start + size]
                sums.accepted += counts.accepted
                sums.duplicates += counts.duplicates
                sums.late += counts.late
                for measure, found in truth.values.get((model, version, segment, pane), {}).items():
                    values[measure].merge(found)
    return windows


def _window(name: str, counts: Counts, values: Mapping[str, Values], parts: list[Metric], cap: int) -> Iterator[str]:
    found = Counts(parts[0].count, parts[0].duplicates, parts[0].late)
    if found != counts:
        yield f"window {name}: {found}, expected {counts}"
    summaries = {measure: summary for part in parts for measure, summary in part.measures.items()}
    if len(parts) != parts[0].parts:
        yield f"window {name}: {len(parts)} of {parts[0].parts} parts are there"
    for measure, wanted in values.items():
        summary = summaries.get(measure)
        if summary is None:
            if wanted.n and len(summaries) < cap:
                yield f"window {name}: nothing of {measure}, expected {wanted.n} values"
        elif summary.n != wanted.n:
            yield f"window {name}: {summary.n} values of {measure}, expected {wanted.n}"
        elif wanted.numbers and not _same_numbers(summary.sum, summary.min, summary.max, wanted):
            yield f"window {name}: {measure} has sum {summary.sum} in {summary.min} … {summary.max}, expected {wanted}"


def _same_numbers(total: float | None, low: float | None, high: float | None, wanted: Values) -> bool:
    if total is None or (low, high) != (wanted.low, wanted.high):
        return False
    return _close(total, wanted.total, wanted.numbers * max(abs(wanted.low), abs(wanted.high)))


def _totals(settings: Settings, truth: Expected, records: Iterable[Metric], settled: bool) -> Iterator[str]:
    """Events after a final window, or of too many models, are counted elsewhere, so only the totals must agree."""
    wanted = sum(counts.total for cell, counts in truth.traffic.items() if cell[2] == ALL)
    for size, slide in settings.time.windows:
        chosen = [r for r in records if r.segment == ALL and r.window_end - r.window_start == size]
        found = sum(r.count + r.duplicates + r.late + r.after_idle for r in chosen)
        each = size // slide  # windows that contain an event; some of the last ones have no record
        if found > each * wanted or (settled and found != wanted and each == 1):
            yield f"windows of {size} ms: {found} events in all, expected {each * wanted}"
