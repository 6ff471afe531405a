"""The state of a partition's judge, without its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from stream_monitor.baselines.pinned import Pin
from stream_monitor.config.settings import Settings
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.alerts.lifecycle import AlertLifecycle
from stream_monitor.judge.consumers.rollouts import Rollouts
from stream_monitor.judge.intake import IntakeState
from stream_monitor.judge.label_arrivals import LabelArrivals
from stream_monitor.judge.model_state import ModelState, new_state
from stream_monitor.judge.panes.watermarks import Watermarks
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.profiles.records import (
    DeltaRecord,
    PerformanceDelta,
    PinRecord,
    ResetRecord,
    RolloutRecord,
    SettingsRecord,
)
from stream_monitor.rollouts.model_rollouts import RolloutsState, forget_first, refusal_of

MOST_FORGOTTEN = 1_000
"""Models that were forgotten and whose rollouts' last numbers are kept."""
MOST_ORDERS = 100
"""Orders about rollouts of models that are not admitted yet."""


class PendingModel(msgspec.Struct):
    """A pending model: it is not admitted yet, and its deltas wait until its first pane closes."""

    deltas: list[Delta] = []
    performance: list[PerformanceDelta] = []
    pairs: list[PairDelta] = []

    @property
    def joined(self) -> list[PerformanceDelta | PairDelta]:
        """What was joined: outcomes, then pairs."""
        return [*self.performance, *self.pairs]

    def add(self, joined: PerformanceDelta | PairDelta) -> None:
        """Keep outcomes or pairs."""
        if isinstance(joined, PairDelta):
            self.pairs.append(joined)
        else:
            self.performance.append(joined)

    def first_pane(self) -> int:
        """The start of its oldest input pane; far in the future when it has none."""
        return min((int(d.pane.min()) for d in self.deltas if d.timeline == "input" and len(d.pane)), default=2**62)

    def events(self, pane: int) -> int:
        """The number of input events in a pane."""
        return sum(int(d.counts[d.pane == pane].sum()) for d in self.deltas if d.timeline == "input")


class PartitionState(msgspec.Struct):
    """The whole state of a partition's judge, without its models."""

    settings: SettingsRecord | None = None
    watermarks: Watermarks = msgspec.field(default_factory=Watermarks)
    pending_models: dict[str, PendingModel] = msgspec.field(name="newcomers", default_factory=dict)
    pins: dict[tuple[str, str], Pin] = {}
    """Pinned baselines by (model, version), kept for models that have not come yet or may come back."""
    incoming: dict[tuple[str, str], Pin] = {}
    """Pinned baselines with parts that have not arrived yet."""
    resets: dict[str, list[ResetRecord]] = {}
    """Resets of models that are not admitted yet; of several with the same scope, the last."""
    orders: dict[str, list[RolloutRecord]] = {}
    """Orders about rollouts of models that are not admitted yet."""
    rollout_numbers: dict[str, dict[str, int]] = {}
    """By model that was forgotten: the last number of each of its rollouts, for routers remember them."""
    alerts: AlertLifecycle = msgspec.field(default_factory=AlertLifecycle)
    told_progress: int = NEVER
    """The watermark of the last published progress record."""
    told_wait: bool = False
    """Whether the last published progress record asks describe to wait."""
    widths: dict[str, int] = {}
    """The length of each embedding, as first received."""
    refused: int = 0
    """The number of refused records: their structure does not fit."""
    intake: IntakeState = msgspec.field(default_factory=IntakeState)
    """Losses that have no event time; of the first partition only."""
    label_arrivals: LabelArrivals = msgspec.field(default_factory=LabelArrivals)
    """When labels and feedback came."""
    has_unpublished: bool = msgspec.field(name="fresh", default=False)
    """Whether deltas came since the last preview of open windows."""

    def pending_model(self, model: str) -> PendingModel:
        """The pending model of this name, a new one if need be."""
        return self.pending_models.setdefault(model, PendingModel())

    def fits(self, record: DeltaRecord, structure: str, embeddings: Mapping[str, int]) -> bool:
        """Whether a record's profiles can be merged with those of the app. Notes the lengths of its embeddings.

        A record without a structure counts as one of the app.
        """
        if record.structure not in ("", structure):
            return False
        known = self.widths | dict(embeddings)
        if any(known.get(name, width) != width for name, width in record.widths.items()):
            return False
        self.widths |= record.widths
        return True

    def add_pin(self, record: PinRecord) -> Pin | None:
        """Add a part of a pinned baseline; return the baseline when the part was its last one."""
        key = record.model, record.version or ""
        pin = self.incoming.get(key)
        if pin is None or pin.digest != record.digest:
            pin = self.incoming[key] = Pin(record.version, record.digest, record.parts)
        pin.parts[record.part] = record.payload
        if len(pin.parts) < pin.wanted:
            return None
        self.pins[key] = self.incoming.pop(key)
        return pin

    def pins_of(self, name: str) -> list[Pin]:
        """The pinned baselines of a model; the one that all versions share comes first: its version is "" here."""
        return [pin for (model, _), pin in sorted(self.pins.items()) if model == name]

    def reset_pins(self, reset: ResetRecord) -> None:
        """Remove from the pinned baselines of a model what a reset covers."""
        for key, pin in list(self.pins.items()):
            if key[0] == reset.model:
                remaining = pin.without(reset)
                if remaining is None:
                    del self.pins[key]
                else:
                    self.pins[key] = remaining

    def keep_reset(self, reset: ResetRecord) -> None:
        """Keep a reset of a model that is not admitted yet."""
        kept = [other for other in self.resets.get(reset.model, ()) if not other.same_scope(reset)]
        self.resets[reset.model] = [*kept, reset]

    def forget_model(self, state: ModelState) -> None:
        """Forget a model, but for the last numbers of its rollouts."""
        self.label_arrivals.forget(state.model)
        rollouts = state.consumers.get(Rollouts.name)
        if isinstance(rollouts, RolloutsState) and (numbers := rollouts.numbers()):
            self.rollout_numbers[state.model] = numbers
            self._forget_numbers()

    def _forget_numbers(self) -> None:
        forget_first(self.rollout_numbers, MOST_FORGOTTEN)

    def first_state(self, model: str, settings: Settings) -> ModelState:
        """The state of a model that is admitted now; its rollouts go on with the numbers that they had."""
        state, numbers = new_state(model, settings), self.rollout_numbers.pop(model, None)
        if numbers is not None:
            state.consumers[Rollouts.name] = RolloutsState(last_numbers=numbers)
        return state

    def keep_order(self, record: RolloutRecord) -> Iterator[RolloutDecision]:
        """Keep an order about a model that is not admitted yet; above the bound it is refused."""
        if sum(map(len, self.orders.values())) < MOST_ORDERS:
            self.orders.setdefault(record.model, []).append(record)
            return
        numbers = self.rollout_numbers.setdefault(record.model, {})
        yield refusal_of(record, numbers, record.since, f"{MOST_ORDERS} orders wait for models that have not come")
        self._forget_numbers()
