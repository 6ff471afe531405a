"""All rollouts of one model: which there are, and what people order about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from stream_monitor.errors import SettingsError
from stream_monitor.events.rollouts import RolloutCommand, RolloutDecision, decision_id
from stream_monitor.profiles.names import NEVER
from stream_monitor.profiles.records import RolloutRecord
from stream_monitor.rollouts.canary import Decisions
from stream_monitor.rollouts.mirror import PairedCheck
from stream_monitor.rollouts.plan import parse_plan
from stream_monitor.rollouts.rollout import FollowedRollout, Rollout, Watermarks
from stream_monitor.rollouts.split import SplitCheck

MOST_LIVE = 4
"""Rollouts of a model at a time."""
MOST_KEPT = 100
"""Rollouts that are not live and whose names and numbers are kept; of more the oldest are forgotten."""
MOST_NUMBERS = 10_000
"""Rollouts that were forgotten and whose last numbers are kept."""
MOST_ORDERS = 100
"""Orders that wait for the first pane, or for the time of a start; further ones are refused."""


LONGEST_NAME = 64
"""Characters of a rollout's name; of a longer one in an order so many are told."""


class RolloutsState(msgspec.Struct):
    """The rollouts of a model in a snapshot."""

    rollouts: dict[str, FollowedRollout] = {}
    """By name, in the order of their starts. Of those that have ended, without their evidence."""
    orders: list[RolloutRecord] = []
    """Orders that wait for the first pane of the model, or for the time of a start."""
    last_numbers: dict[str, int] = {}
    """By name of a rollout that was forgotten: its last number. A later one of this name goes on from there."""
    newest_grain: int = NEVER
    """The newest grain of which labels or signals were read."""

    def numbers(self) -> dict[str, int]:
        """The last number of each rollout that there ever was, as far as known."""
        return self.last_numbers | {name: followed.state.seq for name, followed in self.rollouts.items()}


def refusal_of(record: RolloutRecord, last_numbers: dict[str, int], ts: int, reason: str) -> RolloutDecision:
    """The refusal at `ts` (epoch ms; below 0: unknown) of an order about a rollout that there is not.

    Its number follows that in `last_numbers`, which are by name and change.
    """
    name = record.rollout[:LONGEST_NAME]
    seq = last_numbers.pop(name, 0) + 1
    last_numbers[name] = seq
    forget_first(last_numbers, MOST_NUMBERS)
    return RolloutDecision(
        id=decision_id(record.model, name, seq), rollout=name, seq=seq, ts=max(ts, 0), decision="refused",
        state="waiting", step=0, model=record.model, candidate="", primary="", pattern="canary", weights={},
        by=record.by, command=record.command, reason=reason,
    )  # fmt: skip


def command_of(record: RolloutRecord, ts: int) -> RolloutCommand:
    """An order as a command at an event time (epoch ms)."""
    return RolloutCommand(command=record.command, action=record.action, ts=ts, by=record.by, reason=record.reason)


def forget_first(entries: dict[str, Any], most: int) -> None:
    """Drop the oldest entries above a bound."""
    for name in list(entries)[: max(len(entries) - most, 0)]:
        del entries[name]


class ModelRollouts:
    """Follows the rollouts of one model; all of its data is in `state`."""

    def __init__(self, state: RolloutsState, pane_ms: int, grain_ms: int, ages: Sequence[int]) -> None:
        self.state, self._pane, self._grain, self._ages = state, pane_ms, grain_ms, ages
        self.rollouts = {name: Rollout(followed, pane_ms) for name, followed in state.rollouts.items()}

    @property
    def live(self) -> list[Rollout]:
        """Those that follow requests."""
        return [rollout for rollout in self.rollouts.values() if rollout.is_live]

    def order(self, record: RolloutRecord, closed: int) -> Decisions:
        """What a person orders; panes are `closed` up to this event time.

        A start with a time waits for it, because a router must not follow it before. Where somebody else sets the
        weights nothing waits: it begins at that time, and follows what comes from then on. An order that waited for its
        model has the time of the first pane, or a later one.
        """
        if closed > NEVER and record.since <= closed:
            yield from self._obey(record, closed)
        elif record.since > NEVER and _is_external(record):
            yield from self._obey(record, record.since)
        elif len(self.state.orders) < MOST_ORDERS:
            self.state.orders.append(record)
        else:
            yield from self._refuse(record, record.since, f"{MOST_ORDERS} orders wait already")

    def advance(self, marks: Watermarks) -> Decisions:
        """Obey what waited, and judge what the watermarks allow."""
        if self.state.orders and marks.input > NEVER:
            waiting, self.state.orders = self.state.orders, []
            for record in waiting:
                yield from self.order(record, marks.input)
        for rollout in self.live:
            yield from rollout.advance(marks)
            self._settle(rollout)

    def report(self, ts: int) -> Decisions:
        """The evidence of those that follow requests."""
        for rollout in self.live:
            yield from rollout.canary.report(ts)

    def forget(self, ts: int) -> Decisions:
        """The model is not followed any more."""
        for rollout in self.live:
            yield from rollout.canary.forget(ts)

    def _obey(self, record: RolloutRecord, closed: int) -> Decisions:
        command = command_of(record, closed)
        rollout, refusal = self.rollouts.get(record.rollout), None
        if rollout is None or (rollout.state.state == "waiting" and record.text):
            try:
                rollout = self._begun(record, rollout)
                refusal = self._refusal(rollout)
            except SettingsError as error:
                refusal = str(error)
        if refusal is not None:
            yield from self._refuse(record, closed, refusal)
        elif rollout is not None:
            yield from rollout.command(command, self.state.newest_grain)
        if rollout is not None:
            self._settle(rollout)
        self._forget_oldest()

    def _refuse(self, record: RolloutRecord, ts: int, reason: str) -> Decisions:
        """Refuse an order, once; `ts`: event time, below 0 unknown."""
        rollout = self.rollouts.get(record.rollout)
        if rollout is None:
            yield refusal_of(record, self.state.last_numbers, ts, reason)
        elif record.command not in rollout.state.commands:
            yield from rollout.canary.refuse(command_of(record, max(ts, 0)), reason)

    def _begun(self, record: RolloutRecord, former: Rollout | None) -> Rollout:
        """A rollout as the file of an order says, in place of a former one that never began.

        Raises:
            SettingsError: the order is no start, or its file is none of this rollout.
        """
        if record.action != "start":
            raise SettingsError("it was never started")
        rollout = Rollout.begin(record.text, self._pane, self._grain, self._ages)
        if (rollout.plan.rollout, rollout.plan.model) != (record.rollout, record.model):
            raise SettingsError("the file of the order is that of another rollout")
        rollout.state.seq = self.state.last_numbers.pop(record.rollout, 0)
        if former is not None:
            rollout.state.seq, rollout.state.commands = former.state.seq, former.state.commands
        self.rollouts[record.rollout], self.state.rollouts[record.rollout] = rollout, rollout.followed
        return rollout

    def _refusal(self, rollout: Rollout) -> str | None:
        """Why a rollout cannot begin now."""
        begun = [other for other in self.rollouts.values() if other.is_live or other.state.holds]
        others = [other for other in begun if other is not rollout]
        taken = sorted(other.plan.rollout for other in others if _collide(other, rollout))
        if taken:
            return f"{', '.join(taken)} is not over and has one of its versions"
        return f"{MOST_LIVE} rollouts of this model are not over" if len(others) >= MOST_LIVE else None

    def _settle(self, rollout: Rollout) -> None:
        """Of a rollout that has ended, keep the name, its last number and what people ordered."""
        state, followed = rollout.state, rollout.followed
        if not state.ended or not (state.lanes or followed.labels.grains):
            return
        state.lanes, state.split, state.paired = {}, SplitCheck.start(), PairedCheck.start()
        followed.labels.grains, followed.panes = {}, []

    def _forget_oldest(self) -> None:
        quiet = [name for name, one in self.rollouts.items() if not one.is_live and not one.state.holds]
        for name in quiet[: max(len(quiet) - MOST_KEPT, 0)]:
            self.state.last_numbers[name] = self.rollouts[name].state.seq
            del self.rollouts[name], self.state.rollouts[name]
        forget_first(self.state.last_numbers, MOST_NUMBERS)


def _collide(one: Rollout, other: Rollout) -> bool:
    """Whether two rollouts share a version; several candidates may be in the shadow of one primary."""
    shared = set(one.versions) & set(other.versions)
    in_shadow = one.plan.is_shadow and other.plan.is_shadow
    return bool(shared) and not (in_shadow and shared == {one.plan.primary} == {other.plan.primary})


def _is_external(record: RolloutRecord) -> bool:
    """Whether an order starts a rollout whose weights somebody else sets, without a person's approval."""
    try:
        plan = parse_plan(record.text.encode())
        return record.action == "start" and plan.is_external and "start" not in plan.approve
    except SettingsError:
        return False  # an order that waits is read when it is obeyed, and refused then
