"""`stream-monitor rollout`: start a rollout, order something about it, and see where it stands."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stream_monitor.baseline.control_records import order as write_order
from stream_monitor.baseline.show import measures_of
from stream_monitor.config.durations import format_duration
from stream_monitor.config.settings import Settings
from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.rollouts import Action, RolloutDecision
from stream_monitor.kafka.tail import Tail
from stream_monitor.kafka.tail import tail as values_of
from stream_monitor.profiles.records import ResetRecord, RolloutRecord
from stream_monitor.queries.rollouts import (
    RolloutHistory,
    decisions_of,
    exit_code,
    find_rollout,
    histories_of,
    summary_of,
)
from stream_monitor.rollouts.plan import AGREES, RolloutPlan, read_plan
from stream_monitor.terminal import Column, Screen, Table, visible
from stream_monitor.timestamps import to_the_second

ANSWER_S = 60.0
"""How long a command waits for the decision that names it."""


@dataclass(frozen=True)
class Person:
    """Who orders something, and why."""

    by: str
    reason: str


def start(settings: Settings, path: Path, person: Person, dry_run: bool, out: Screen, err: Screen) -> int:
    """Start the rollout of a file; 2 where it is refused. With `dry_run` nothing is ordered."""
    plan = read_plan(path)
    _tell_plan(settings, plan, err)
    if dry_run:
        return 0
    record = RolloutRecord(
        model=plan.model, rollout=plan.rollout, command=uuid.uuid4().hex, action="start", by=person.by,
        reason=person.reason or f"started from {path.name}", text=path.read_text(encoding="utf-8-sig"),
    )  # fmt: skip
    return _ordered(settings, record, out, err)


def _tell_plan(settings: Settings, plan: RolloutPlan, err: Screen) -> None:
    """Say what a rollout will do, and which of its guards have never been seen."""
    for number, step in enumerate(plan.steps, 1):
        margins = plan.margins_of(number)
        asked = f"each guard within {margins} × its margin" if margins else "no harm"
        duration = format_duration(step.duration)
        if plan.is_shadow:
            err.line(f"in shadow for {duration}, then {asked}")
        elif plan.is_external:
            err.line(f"somebody else sets the weights; it passes with {asked}")
        else:
            err.line(f"step {number}: {step.weight:.4g} for {duration}, then {asked}")
    specs = [",".join(spec) for spec in settings.segments]
    unknown = [name for name in plan.segments if name not in specs]
    if unknown:
        known = "; ".join(specs) or "none"
        raise StreamMonitorError(f"segments {', '.join(unknown)} are none of this app's; its `segments` are: {known}")
    known_measures = measures_of(values_of(settings, "baselines", follow=False), ResetRecord(plan.model))
    if not known_measures:
        err.note(f"nothing of the model {visible(plan.model)} has a baseline yet: is it the right name?")
        return
    for guard in plan.guards:
        name = guard.measure if guard.is_joined else guard.source.measure
        if name not in known_measures and name != AGREES:
            err.note(f"guard {visible(guard.measure)}: no values of {visible(name)} have been seen")


def order(
    settings: Settings, action: Action, name: str, model: str | None, person: Person, out: Screen, err: Screen
) -> int:
    """Order something about a rollout; 2 where it is refused, 3 where no judge answers in time."""
    model, _ = find_rollout(histories_of(values_of(settings, "decisions", follow=False)), name, model)
    record = RolloutRecord(
        model=model, rollout=name, command=uuid.uuid4().hex, action=action, by=person.by, reason=person.reason
    )
    return _ordered(settings, record, out, err)


def _ordered(settings: Settings, record: RolloutRecord, out: Screen, err: Screen) -> int:
    """Write an order, and wait for the decision that names it."""
    with closing(Tail(settings, ["decisions"])) as reader:
        write_order(settings, record)
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            for decision in decisions_of(value for _, value in reader.read(0.5)):
                if decision.command == record.command:
                    out.line(line_of(decision))
                    return 2 if decision.decision == "refused" else 0
    err.note(
        f"no judge has answered within {ANSWER_S:.0f} s. The order is in the log, and counts from the first slice of "
        "time that is still open. Is a judge running (`status`), and does the model have predictions?"
    )
    return 3


def line_of(decision: RolloutDecision) -> str:
    """A decision as one line."""
    weights = ", ".join(f"{visible(version)} {weight:.4g}" for version, weight in decision.weights.items())
    holds = f" ({', '.join(decision.holds)})" if decision.holds else ""
    return (
        f"{to_the_second(decision.ts)}  {visible(decision.rollout)} {decision.seq}  {decision.decision}{holds}  "
        f"{weights}  {visible(decision.reason)}  by {visible(decision.by)}"
    )


def show(settings: Settings, name: str | None, model: str | None, as_json: bool, out: Screen) -> int:
    """Where rollouts stand: that of a name, or all that are not over, or else all."""
    histories = histories_of(values_of(settings, "decisions", follow=False))
    if name is not None:
        shown = [find_rollout(histories, name, model)[1]]
    else:
        of_model = [one for (of, _), one in histories.items() if model in (None, of)]
        shown = [one for one in of_model if one.last.state in ("waiting", "running", "hold")] or of_model
    if not shown:
        raise StreamMonitorError("no rollout was ever started: `rollout start FILE` starts one")
    for history in shown:
        if as_json:
            out.data(msgspec.json.encode(history.last))
            continue
        for line in summary_of(history):
            out.draw(line)
    return max(exit_code(history.decisions) for history in shown)


def list_rollouts(settings: Settings, as_json: bool, out: Screen) -> int:
    """All rollouts, those that began last first; 1 where there are none."""
    histories = histories_of(values_of(settings, "decisions", follow=False)).values()
    ordered = sorted(histories, key=lambda history: -history.decisions[0].ts)
    if as_json:
        for history in ordered:
            out.data(msgspec.json.encode(history.last))
    elif ordered:
        out.table(_table(ordered))
    return int(not ordered)


def _table(histories: list[RolloutHistory]) -> Table:
    names = ("model", "rollout", "candidate", "primary", "state", "step", "weight", "exposed", "started", "reason")
    figures = {"step", "weight", "exposed"}
    columns = [Column(name, "figure" if name in figures else "name") for name in names[:-1]]
    table = Table([*columns, Column(names[-1], "prose")])
    for history in histories:
        last = history.last
        table.row(
            visible(last.model), visible(last.rollout), visible(last.candidate), visible(last.primary), last.state,
            str(last.step), f"{last.weights.get(last.candidate, 0.0):.4g}", f"{last.exposed:,}",
            to_the_second(history.decisions[0].ts), visible(history.changes[-1].reason if history.changes else ""),
        )  # fmt: skip
    return table


def watch(settings: Settings, name: str, model: str | None, as_json: bool, out: Screen) -> int:
    """Print the decisions about a rollout as they come, until it is over; the exit code says how it ended."""
    model, _ = find_rollout(histories_of(values_of(settings, "decisions", follow=False)), name, model)
    seen: list[RolloutDecision] = []
    for decision in decisions_of(values_of(settings, "decisions", follow=True)):
        if (decision.rollout, decision.model) != (name, model):
            continue
        if any(decision.seq == one.seq for one in seen):
            continue
        seen = [*seen[-1_000:], decision]
        if as_json:
            out.data(msgspec.json.encode(decision))
        else:
            out.line(line_of(decision))
        over = decision.state in ("passed", "rolled_back", "aborted", "inconclusive")
        if over or (decision.state == "promoted" and decision.weights in ({}, {decision.candidate: 1.0})):
            return exit_code(seen)
    return 0
