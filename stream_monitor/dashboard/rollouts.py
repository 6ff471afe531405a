"""What the page and programs are told of rollouts: where each stands, its history, and the answer to a gate.

Each answer comes from the latest decision in the store. Where no report of a rollout that runs has come for three times
as long as reports take, its gates are closed: the judge, or the reader of this page, may be away.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream_monitor.config.durations import format_duration, ms
from stream_monitor.dashboard.packing import unpack_record
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.dashboard.windows import UnknownName
from stream_monitor.events.rollouts import RolloutDecision

Verdict = Literal["pass", "harm", "hold", "none"]
Gate = Literal["advance", "promote", "rollback"]
MINUTE = ms("1m")
MISSED = 3
"""Reports that may be missing before a gate closes."""
HISTORY = 1_000
"""Decisions that are listed, the latest."""


def rollouts_view(store: Snapshot, model: str | None = None) -> list[dict[str, Any]]:
    """The latest decision of each rollout, those that began last first."""
    standing = "COALESCE(MAX(seq) FILTER (WHERE name != 'refused'), MAX(seq))"  # a refusal changes nothing
    latest = f"SELECT model, rollout, {standing} AS seq, MIN(ts) AS started FROM decision GROUP BY model, rollout"
    rows = store.rows(
        f"SELECT record, started FROM ({latest}) JOIN decision USING (model, rollout, seq) "
        "WHERE ? IS NULL OR model = ? ORDER BY started DESC, model, rollout",
        (model, model),
    )
    return [msgspec.json.decode(unpack_record(packed)) | {"started": started} for packed, started in rows]


def rollout_view(store: Snapshot, model: str, rollout: str) -> dict[str, Any]:
    """The decisions of one rollout, the latest first, and its verdict.

    Raises:
        UnknownName: there is none.
    """
    decisions = _decisions(store, model, rollout)
    if not decisions:
        raise UnknownName(f"no rollout {rollout[:100]!r} of a model {model[:100]!r}")
    return {
        "model": model,
        "rollout": rollout,
        "decisions": [msgspec.to_builtins(one) for one in decisions],
        "verdict": verdict_of(next((one for one in decisions if one.decision != "refused"), decisions[0])),
    }


def _decisions(store: Snapshot, model: str, rollout: str, most: int = HISTORY) -> list[RolloutDecision]:
    rows = store.rows(
        "SELECT record FROM decision WHERE model = ? AND rollout = ? ORDER BY seq DESC LIMIT ?", (model, rollout, most)
    )
    return [msgspec.json.decode(unpack_record(packed), type=RolloutDecision) for (packed,) in rows]


def verdict_of(decision: RolloutDecision) -> Verdict:
    """What a program that asks should do: take the candidate (`pass`), roll back (`harm`), or wait (`hold`)."""
    if decision.state in ("promoted", "passed"):
        return "pass"
    return "harm" if _gave_back(decision) else "hold"


def _gave_back(decision: RolloutDecision) -> bool:
    """Whether the rollout is over, and the primary has all requests."""
    over = decision.state in ("rolled_back", "aborted", "inconclusive")
    return over and not decision.weights.get(decision.candidate)


def verdict_view(store: Snapshot, model: str, rollout: str, now: int) -> dict[str, Any]:
    """The verdict on a rollout at the time `now` (epoch ms); `none` where it never began."""
    found = _standing(store, model, rollout)
    if found is None:
        return {"verdict": "none", "model": model, "rollout": rollout, "reason": "no such rollout was ever started"}
    last, arrived = found
    reason = last.reason
    if _is_stale(last, arrived, now):
        silence = format_duration((now - arrived) // MINUTE * MINUTE)
        reason = f"no decision and no report has come for {silence}: do the judge and this page work?"
    return {
        "verdict": verdict_of(last), "model": model, "rollout": rollout, "seq": last.seq, "ts": last.ts,
        "state": last.state, "step": last.step, "weights": last.weights, "holds": last.holds, "reason": reason,
    }  # fmt: skip


def is_open(store: Snapshot, model: str, rollout: str, gate: Gate, now: int) -> bool:
    """Whether a gate lets through: to more weight, to the promotion, or to the rollback."""
    found = _standing(store, model, rollout)
    if found is None:
        return False
    last, arrived = found
    match gate:
        case "rollback":
            return _gave_back(last)
        case "promote":
            return last.state in ("promoted", "passed")
        case "advance":
            return last.state in ("running", "promoted", "passed") and not _is_stale(last, arrived, now)


def _standing(store: Snapshot, model: str, rollout: str) -> tuple[RolloutDecision, int] | None:
    """The latest decision that was no refusal, for a refusal changes nothing, and when it came (epoch ms)."""
    row = store.one(
        "SELECT record, arrived FROM decision WHERE model = ? AND rollout = ? AND name != 'refused' "
        "ORDER BY seq DESC LIMIT 1",
        (model, rollout),
    )
    return None if row is None else (msgspec.json.decode(unpack_record(row[0]), type=RolloutDecision), row[1])


def _is_stale(last: RolloutDecision, arrived: int, now: int) -> bool:
    """Whether a rollout that runs has been silent for longer than its reports allow."""
    runs = last.state == "running" and last.report_every > 0
    return runs and now - arrived > MISSED * last.report_every + MINUTE
