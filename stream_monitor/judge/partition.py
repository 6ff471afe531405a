"""The judge of one `profiles` partition. Its result depends only on the partition's records and their log order."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
import xxhash

from stream_monitor.config.recorded import applied
from stream_monitor.config.settings import Settings
from stream_monitor.detect.cusum.bank import CusumBank, PaneBatch
from stream_monitor.detect.windows.overdispersion import DispersionUpdate, learn
from stream_monitor.events.contracts import Alert
from stream_monitor.judge.consumers.contract import BatchTask
from stream_monitor.judge.detection.window_evaluation import WindowEvaluation, run_tests
from stream_monitor.judge.health import Gone
from stream_monitor.judge.intake import follow_intake
from stream_monitor.judge.label_silence import follow_labels
from stream_monitor.judge.model import JudgeOutput, ModelJudge
from stream_monitor.judge.model_state import ModelState, new_state
from stream_monitor.judge.pane_memory import PaneMemory
from stream_monitor.judge.panes.open_panes import bytes_of_delta
from stream_monitor.judge.partition_state import PartitionState
from stream_monitor.judge.silence import check_silence
from stream_monitor.judge.timelines.known_edges import KnownEdges
from stream_monitor.profiles.bin_catalog import CatalogRecord, ProgressRecord
from stream_monitor.profiles.delta import CategoricalRows, Delta, NumericRows
from stream_monitor.profiles.names import ALL_SEGMENTS, END, NEVER, OTHER
from stream_monitor.profiles.records import (
    DeltaRecord,
    PinRecord,
    Record,
    ResetRecord,
    RolloutRecord,
    SettingsRecord,
    WatermarkRecord,
)

log = logging.getLogger(__name__)

REFUSED = (
    "profiles/%d holds profiles of other panes, segments, grains or embeddings than this app's: a describe worker runs "
    "with other settings. They are left out (%d records so far), and the events in them are not counted"
)


class PartitionJudge:
    """Judges all models of one partition: processes its records and drives the models' judges.

    All data that must survive a restart lies in `PartitionState` and in the `ModelState` of each model.
    """

    def __init__(self, number: int, base: Settings, state: PartitionState, models: dict[str, ModelState]) -> None:
        self.number, self.base, self.state = number, base, state
        self._refused = 0
        """The number of records that this process has refused."""
        self._structure = base.profile_structure()
        self.settings = base if state.settings is None else applied(base, state.settings.text)
        self.bank = CusumBank()
        self.known_edges = KnownEdges()
        self.models: dict[str, ModelJudge] = {}
        self.memory = PaneMemory(state, self.models)
        self.models.update({name: self.model_judge(model) for name, model in models.items()})
        self.memory.count()

    def model_judge(self, state: ModelState) -> ModelJudge:
        """A `ModelJudge` for a model's state, with the active settings."""
        return ModelJudge(state, self.settings.for_model(state.model), self.bank, self.memory.open_bytes)

    def use_edges(self, known: KnownEdges) -> None:
        """Use published edges, because profiles may already be counted on them."""
        self.known_edges = known
        for name, judge in self.models.items():
            self._with_edges(name, judge.state)

    def _with_edges(self, name: str, state: ModelState) -> ModelState:
        for timeline in state.timelines.values():
            self.known_edges.apply(name, timeline)
        return state

    def process(self, record: Record, arrived: int) -> Iterator[JudgeOutput]:
        """Process one record; `arrived` is the time at which the broker received it (epoch ms)."""
        match record:
            case DeltaRecord() if self.state.fits(record, self._structure, self.base.embeddings):
                self.state.has_unpublished = True
                self.state.label_arrivals.take_deltas(record)
                self._feed(record)
            case DeltaRecord():
                self._refuse(record)
            case SettingsRecord():
                self._apply_settings(record)
                yield from self._advance()
            case PinRecord():
                yield from self._pin(record)
            case ResetRecord():
                yield from self._reset(record)
            case RolloutRecord():
                yield from self._obey(record)
            case WatermarkRecord():
                self.state.watermarks.update(record, arrived)
                yield from self._advance()
                yield from self._publish_progress(self.memory.must_wait())
                yield from self._idle(arrived)
                yield from self._follow_labels(record, arrived)
                rules = None if self.state.settings is None else self.settings
                yield from follow_intake(self.state.intake, self.state.alerts, rules, record.intake, arrived)

    def _publish_progress(self, wait: bool) -> Iterator[JudgeOutput]:
        """Publish progress to the workers.

        The judge of partition 0 publishes the smallest input watermark whenever it has grown by an eighth of `align`.
        Every judge publishes when the workers must begin to wait for the slowest partition, because the judge holds too
        much, and when they need not wait any more.
        """
        least = self.state.watermarks.for_timeline("input")
        some_way = self.number == 0 and least - self.state.told_progress >= self.settings.align // 8
        if NEVER < least < END and (some_way or wait != self.state.told_wait):
            self.state.told_progress, self.state.told_wait = least, wait
            yield from self.progress()

    def progress(self) -> Iterator[ProgressRecord]:
        """The progress record for the workers, as soon as there is an input watermark."""
        if (least := self.state.watermarks.for_timeline("input")) > NEVER:
            yield ProgressRecord(min(least, END - 1), self.number, self.state.told_wait)

    def rest(self, unchanged: Iterable[str]) -> None:
        """Continue from a snapshot.

        Of the `unchanged` models, nothing but the watermarks has moved between their last write and this snapshot.
        """
        for judge in self.models.values():
            judge.changed = False
        for name in unchanged:
            self.models[name].rest(self.state.watermarks)

    def notices(self) -> Iterator[CatalogRecord]:
        """The whole catalog as it is now, and the progress record."""
        for name in sorted(self.models):
            yield from self.models[name].notices()
        yield from self.progress()

    def _feed(self, record: DeltaRecord) -> None:
        for delta in record.deltas:
            judge = self.models.get(delta.model)
            if judge is not None:
                judge.feed(delta)
            else:
                self.state.pending_model(delta.model).deltas.append(delta)
                self.memory.open_bytes.nbytes += bytes_of_delta(delta)
        for outcome in record.joined:
            judge = self.models.get(outcome.model)
            if judge is not None:
                judge.feed_joined(outcome)
            else:
                self.state.pending_model(outcome.model).add(outcome)

    def _refuse(self, record: DeltaRecord) -> None:
        self.state.refused += 1
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:  # at each doubling
            log.error(REFUSED, self.number, self.state.refused)

    def _pin(self, record: PinRecord) -> Iterator[JudgeOutput]:
        pin, judge = self.state.add_pin(record), self.models.get(record.model)
        if pin is not None and judge is not None:
            yield from judge.pin(pin.version, pin.measures())

    def _reset(self, record: ResetRecord) -> Iterator[JudgeOutput]:
        judge = self.models.get(record.model)
        if judge is None:
            self.state.keep_reset(record)
            return
        self.state.reset_pins(record)
        yield from judge.reset(record)

    def _obey(self, record: RolloutRecord) -> Iterator[JudgeOutput]:
        if (judge := self.models.get(record.model)) is None:
            yield from self.state.keep_order(record)
        else:
            yield from judge.obey(record)

    def _apply_settings(self, record: SettingsRecord) -> None:
        self.state.settings = record
        self.settings = applied(self.base, record.text)
        for judge in self.models.values():
            judge.flush_merges()
        self.models.update({name: self.model_judge(judge.state) for name, judge in self.models.items()})

    def _advance(self) -> Iterator[JudgeOutput]:
        if self.state.settings is None:  # no pane may close before the settings are in the log
            return
        yield from self._admit()
        yield from self._close()
        yield from self._forget()

    def _close(self) -> Iterator[JudgeOutput]:
        """Advance all models side by side. Each call of a batch function does the pending tasks of all models."""
        live = [self.models[name].advance(self.state.watermarks) for name in sorted(self.models)]
        while live:
            tasks: list[BatchTask] = []
            waiting: list[Iterator[JudgeOutput | BatchTask]] = []
            for model in live:
                for output in model:
                    if isinstance(output, BatchTask):
                        tasks.append(output)
                        waiting.append(model)
                        break
                    yield output
            if steps := [task for task in tasks if isinstance(task, PaneBatch)]:
                self.bank.step(steps)
            run_tests([task for task in tasks if isinstance(task, WindowEvaluation)])
            learn([task for task in tasks if isinstance(task, DispersionUpdate)])
            live = waiting

    # --- which models are judged ---

    def _admit(self) -> Iterator[JudgeOutput]:
        """Admit pending models whose first pane closes, in the order of that pane, then by count, then by hash."""
        watermark, pane = self.state.watermarks.for_timeline("input"), self.settings.time.pane
        due = []
        for name, pending_model in self.state.pending_models.items():
            first = pending_model.first_pane()
            if first + pane <= watermark:
                due.append((first, -pending_model.events(first), xxhash.xxh3_64_intdigest(name.encode()), name))
        for first, *_, name in sorted(due):
            pending_model = self.state.pending_models.pop(name)
            self.memory.open_bytes.nbytes -= sum(map(bytes_of_delta, pending_model.deltas))
            if len(self.models) < self.settings.caps.models or name == OTHER:
                judge = self._judge_of(name)
                yield from self._kept(name, judge, first)
                for delta in pending_model.deltas:
                    judge.feed(delta)
                for outcome in pending_model.joined:
                    judge.feed_joined(outcome)
            else:
                for delta in pending_model.deltas:
                    if delta.timeline == "input":
                        self._judge_of(OTHER).feed(counts_only(delta))

    def _kept(self, name: str, judge: ModelJudge, first: int) -> Iterator[JudgeOutput]:
        """Apply what people ordered before the model was admitted, whose first pane starts at `first`."""
        yield from self._pinned(name, judge)
        for reset in self.state.resets.pop(name, ()):
            yield from self._reset(reset)
        for order in self.state.orders.pop(name, ()):
            yield from judge.obey(msgspec.structs.replace(order, since=max(order.since, first)))

    def _pinned(self, name: str, judge: ModelJudge) -> Iterator[JudgeOutput]:
        for pin in self.state.pins_of(name):
            yield from judge.pin(pin.version, pin.measures())

    def _judge_of(self, name: str) -> ModelJudge:
        judge = self.models.get(name)
        if judge is None:
            first = self.state.first_state(name, self.settings)
            judge = self.models[name] = self.model_judge(self._with_edges(name, first))
        return judge

    def _forget(self) -> Iterator[JudgeOutput]:
        watermark = self.state.watermarks.for_timeline("input")
        edge = watermark - self.settings.caps.model_ttl
        quiet = [name for name, judge in self.models.items() if NEVER < judge.state.last_event < edge]
        for name in sorted(name for name in quiet if not self.models[name].state.waiting):
            judge = self.models.pop(name)
            if watermark < END:  # at the end of a finite stream no time has passed
                yield from judge.end()
            judge.release()
            self.state.forget_model(judge.state)
            yield Gone(name)

    # --- idle partitions and silence ---

    def _idle(self, arrived: int) -> Iterator[JudgeOutput]:
        marks = self.state.watermarks
        if marks.all_idle and self.state.has_unpublished and self.state.settings is not None:
            self.state.has_unpublished = False
            for name in sorted(self.models):
                yield from self.models[name].preview(marks)
            yield from self._preview_pending_models()
        if self.number == 0 and self.state.settings is not None:
            yield from check_silence(self.state, self.settings, arrived)

    def _follow_labels(self, record: WatermarkRecord, arrived: int) -> Iterator[Alert]:
        watermark = self.state.watermarks.for_timeline("input")
        if self.state.settings is not None and NEVER < watermark < END:
            yield from follow_labels(self.state.label_arrivals, self.models, record, watermark, arrived)

    def _preview_pending_models(self) -> Iterator[JudgeOutput]:
        for name in sorted(self.state.pending_models):
            judge = ModelJudge(self._with_edges(name, new_state(name, self.settings)), self.settings)
            list(self._pinned(name, judge))
            for delta in self.state.pending_models[name].deltas:
                judge.feed(delta)
            for outcome in self.state.pending_models[name].joined:
                judge.feed_joined(outcome)
            yield from judge.preview(self.state.watermarks)


def counts_only(delta: Delta) -> Delta:
    """The delta of a model above the cap, reduced to its event counts under `__other__`. Its measures are dropped."""
    kept = np.array([segment == ALL_SEGMENTS for segment in delta.segment], np.bool_)
    size = int(kept.sum())
    return Delta(
        OTHER,
        delta.timeline,
        [OTHER] * size,
        [ALL_SEGMENTS] * size,
        delta.pane[kept],
        delta.counts[kept],
        NumericRows.none(),
        CategoricalRows.none(),
    )
