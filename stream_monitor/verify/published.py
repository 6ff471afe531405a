"""The records on the topics of an app."""

from __future__ import annotations

from collections import defaultdict

import msgspec

from stream_monitor.errors import FormatError
from stream_monitor.events.contracts import Alert, DeadLetter, Metric
from stream_monitor.events.dead_letters import NOT_ACCEPTED
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.pairs import KINDS, PairDelta
from stream_monitor.profiles.records import (
    DeltaRecord,
    PerformanceDelta,
    SettingsRecord,
    WatermarkRecord,
    read_record,
)
from stream_monitor.verify.expected import Cell, Counts, Performance
from stream_monitor.verify.pairs import PairCounts

MetricKey = tuple[str, str, str, int, int, str, int]
"""Model, version, segment, start and end of the window, kind, part."""

_metric, _alert = msgspec.json.Decoder(Metric), msgspec.json.Decoder(Alert)
_letter = msgspec.json.Decoder(DeadLetter)


class Published:
    """Takes the output in log order, each topic by itself."""

    def __init__(self) -> None:
        self.traffic: dict[Cell, Counts] = defaultdict(Counts)
        self.performance: dict[Cell, Performance] = defaultdict(Performance)
        self.pairs: PairCounts = defaultdict(lambda: defaultdict(int))
        self.metrics: dict[MetricKey, list[Metric]] = defaultdict(list)
        self.alerts: dict[tuple[str, str, int], int] = defaultdict(int)
        """How often each (id, status, revision) occurs."""
        self.letters: dict[tuple[str, int, int], list[str]] = defaultdict(list)
        """Reasons by topic, partition and offset."""
        self.foreign: list[str] = []
        """Records on `profiles` that are not ours."""
        self.settings: str | None = None
        """The first settings record on `profiles`, as JSON."""
        self.feedback: dict[int, int] = {}
        """The watermark of feedback of each partition."""
        self.sums: list[DeadLetter] = []
        """Letters that stand for several events."""

    def feed(self, role: str, value: bytes) -> bool:
        """Process a record of `profiles`, `metrics`, `alerts` or `dead-letters`; whether the judge must count it."""
        match role:
            case "profiles":
                return self._profile(value)
            case "metrics":
                metric = _metric.decode(value)
                key = (metric.model, metric.version, metric.segment, metric.window_start, metric.window_end)
                self.metrics[*key, metric.kind, metric.part].append(metric)
            case "alerts":
                alert = _alert.decode(value)
                self.alerts[alert.id, alert.status, alert.revision] += 1
            case "dead-letters":
                letter = _letter.decode(value)
                if letter.reason == NOT_ACCEPTED:
                    return False
                if letter.last_offset is not None:
                    self.sums.append(letter)
                    return False
                self.letters[letter.topic, letter.partition, letter.offset].append(letter.reason)
        return False

    def _profile(self, value: bytes) -> bool:
        try:
            record = read_record(value)
        except FormatError as error:
            self.foreign.append(f"a record of profiles cannot be read: {error}")
            return False
        if isinstance(record, SettingsRecord) and self.settings is None:
            self.settings = record.text
        if isinstance(record, WatermarkRecord):
            for time in record.partitions:
                watermark = time.largest + 1 if time.end else time.feedback
                self.feedback[time.partition] = max(self.feedback.get(time.partition, NEVER), watermark)
        if not isinstance(record, DeltaRecord):
            return False
        for delta in record.deltas:
            self._traffic(delta)
        for outcome in record.performance:
            self._performance(outcome)
        for pairs in record.pairs:
            self._pairs(pairs)
        return True

    def _traffic(self, delta: Delta) -> None:
        if delta.timeline != "input":
            return
        cells = zip(delta.version, delta.segment, delta.pane.tolist(), delta.counts.tolist(), strict=True)
        for version, segment, pane, (accepted, duplicates, late) in cells:
            counts = self.traffic[delta.model, version, segment, pane]
            counts.accepted += accepted
            counts.duplicates += duplicates
            counts.late += late

    def _pairs(self, delta: PairDelta) -> None:
        times = (column.tolist() for column in (delta.window, delta.other_window, delta.known))
        cells = list(zip(delta.first, delta.second, delta.segment, *times, strict=True))
        rows = (column.tolist() for column in (delta.cell, delta.kind, delta.bin, delta.n))
        for cell, kind, at, n in zip(*rows, strict=True):
            self.pairs[delta.model, *cells[cell], KINDS[kind]][at] += n

    def _performance(self, delta: PerformanceDelta) -> None:
        starts = zip(delta.version, delta.segment, delta.window.tolist(), strict=True)
        cells = [self.performance[delta.model, version, segment, start] for version, segment, start in starts]
        for cell, labelled in zip(cells, delta.labelled.tolist(), strict=True):
            cell.labelled += labelled
        rows = zip(delta.cell.tolist(), delta.name.tolist(), delta.n.tolist(), delta.total.tolist(), strict=True)
        for at, name, n, total in rows:
            cells[at].n[delta.names[name]] += n
            cells[at].total[delta.names[name]] += total
        for at, pair, n in zip(delta.pair_cell.tolist(), delta.pair.tolist(), delta.pair_n.tolist(), strict=True):
            cells[at].pairs[delta.pairs[pair]] += n
