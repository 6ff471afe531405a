"""`baseline build`: what a file of events says is normal, by the code that judges the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from stream_monitor.baseline.embeddings import Embeddings
from stream_monitor.baselines.baseline import Baseline
from stream_monitor.baselines.pinned import PinnedBaseline, PinnedMeasure
from stream_monitor.baselines.sampled_rows import WINDOW_ROWS
from stream_monitor.config.detection import BaselineSettings, SampleSettings, TimeSettings
from stream_monitor.config.durations import WindowSpec, ms
from stream_monitor.config.settings import Settings
from stream_monitor.errors import NothingUsable
from stream_monitor.events.files import SUFFIXES, read_table
from stream_monitor.events.rejects import Rejects
from stream_monitor.file_replay import BATCH, Driver, read_files
from stream_monitor.judge.model import ModelJudge
from stream_monitor.judge.model_state import new_state
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.measures import JOINT
from stream_monitor.profiles.names import ALL_SEGMENTS, END
from stream_monitor.profiles.records import DeltaRecord, read_record
from stream_monitor.wire.msgpack_arrays import pack

EVER = ms("36500d")


@dataclass(slots=True)
class Built:
    """Baselines by model, and what was read for them."""

    baselines: list[PinnedBaseline]
    events: int = 0
    rejects: Rejects = field(default_factory=Rejects)
    roles: dict[str, int] = field(default_factory=dict)
    """Events by the topic that they belong to."""


def read_events(
    paths: Iterable[Path],
    owner: tuple[str | None, str | None],
    text: Sequence[str],
    limit: int,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[str, bytes]]:
    """(role, raw event) of NDJSON, CSV and Parquet files, `limit` lines or rows of each.

    `owner` is the (model, version) of rows that name none; `text` are CSV columns whose numbers are names.
    """
    for path in paths:
        if path.suffix in SUFFIXES:
            yield from read_table(path, owner, text, limit)
            progress(path.stat().st_size)
        else:
            yield from islice(read_files([path], progress), limit)


def build(settings: Settings, events: Iterable[tuple[str, bytes]], name: str, version: str | None) -> Built:
    """The baselines of all models among the events, whatever their order; `version`: for that one only.

    NothingUsable when no event could be used.
    """
    making = _Making(_timeless(settings))
    batch: list[tuple[str, bytes]] = []
    for event in events:
        batch.append(event)
        if len(batch) == BATCH:
            making.take(batch)
            batch = []
    making.take(batch, ended=True)
    built = making.built
    for model in sorted(making.models):
        built.baselines.append(PinnedBaseline(model, version, name, making.measures(model, name, version)))
    if not built.baselines:
        raise NothingUsable(_nothing(built))
    return built


def _nothing(built: Built) -> str:
    """Why there is no baseline."""
    if not built.events:
        return "no event could be used: there was none to read"
    read = ", ".join(f"{count:,} {role}" for role, count in sorted(built.roles.items()))
    why = [*built.rejects.lines()]
    if not built.rejects.counts:
        why = [
            "  a baseline is made of predictions, and of labels and feedback that belong to predictions read with them"
        ]
    return "\n".join([f"no event could be used; read were {read}", *why])


class _Making:
    """Describe, and the timelines of its models, without the judge's clock."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.driver = Driver(settings, BinCatalog())
        self.models: dict[str, ModelJudge] = {}
        self.embeddings: dict[str, Embeddings] = {}
        self.built = Built([])

    def take(self, batch: list[tuple[str, bytes]], ended: bool = False) -> None:
        self.driver.feed(batch)
        for role, _ in batch:
            self.built.roles[role] = self.built.roles.get(role, 0) + 1
        self.built.events = self.driver.events
        for output in self.driver.commit(self.driver.parts if ended else ()):
            if output.role == "dead-letters":
                self.built.rejects.take(output.value)
            elif output.role == "profiles":
                record = read_record(output.value)
                if isinstance(record, DeltaRecord):
                    self._feed(record)

    def _feed(self, record: DeltaRecord) -> None:
        for delta in record.deltas:
            judge = self.models.get(delta.model)
            if judge is None:
                state = new_state(delta.model, self.settings)
                judge = self.models[delta.model] = ModelJudge(state, self.settings)
                self.embeddings[delta.model] = Embeddings()
            if delta.vectors is not None:  # it counts nothing, and the judge would keep it until its pane closes
                self.embeddings[delta.model].take(delta)
            else:
                judge.feed(delta)

    def measures(self, model: str, name: str, version: str | None) -> list[PinnedMeasure]:
        """All that is normal of a model, or of that version, under this name."""
        judge = self.models[model]
        found = _measures(judge, name)
        timeline = judge.timelines["input"]
        if (rows := timeline.joint.made()) is not None:
            baseline = Baseline(name, timeline.state.closed_until, len(rows), {"other": len(rows)}, len(rows))
            found.append(PinnedMeasure("input", ALL_SEGMENTS, JOINT, baseline, rows=pack(rows)))
            if version is None:  # a centroid is one for all versions
                found.extend(self.embeddings[model].measures(rows, name, timeline.rules.limits))
        return found


def _timeless(settings: Settings) -> Settings:
    """Settings under which a whole file is one pane and no value makes a baseline before all are there."""
    time = TimeSettings.model_construct(
        **{**dict(settings.time), "pane": EVER, "windows": (WindowSpec.tumbling(EVER),), "allowed_lateness": EVER}
    )
    baseline = BaselineSettings.model_construct(first=2**62)
    sample = SampleSettings(rows=WINDOW_ROWS if settings.sample.rows else 0)
    return settings.model_copy(update={"time": time, "baseline": baseline, "sample": sample})


def _measures(judge: ModelJudge, name: str) -> list[PinnedMeasure]:
    found: list[PinnedMeasure] = []
    for timeline in judge.timelines.values():
        for _ in timeline.advance(END):
            pass
        for _ in timeline.baseline_manager.complete_all():
            pass
        for (segment, measure), baseline in sorted(timeline.state.baselines.shared.items()):
            baseline.name = name
            made = PinnedMeasure(timeline.state.name, segment, measure, baseline)
            edges = timeline.state.edges.get(measure)
            if baseline.counts is not None and edges is not None:
                made.borders, made.tail = edges.edges, edges.tail
            found.append(made)
    return found
