"""What the page and programs are told of rollouts: where each stands, its history, and the answer to a gate.

Each answer comes from the latest decision in the store, so it is as old as the reader is behind. A verdict says `none`
where nothing is known.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream_monitor.dashboard.packing import unpack_record
from stream_monitor.dashboard.store import Snapshot
from stream_monitor.dashboard.windows import UnknownName
from stream_monitor.events.rollouts import RolloutDecision

Verdict = Literal["pass", "harm", "hold", "none"]
Gate = Literal["advance", "promote", "rollback"]
HISTORY = 1_000
"""Decisions that are listed, the latest."""


def rollouts_view(store: Snapshot, model: str | None = None) -> list[dict[str, Any]]:
    """The latest decision of each rollout, those that began last first."""
    latest = "SELECT model, rollout, MAX(seq) AS seq, MIN(ts) AS started FROM decision GROUP BY model, rollout"
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
        "verdict": verdict_of(decisions[0]),
    }


def _decisions(store: Snapshot, model: str, rollout: str, most: int = HISTORY) -> list[RolloutDecision]:
    rows = store.rows(
        "SELECT record FROM decision WHERE model = ? AND rollout = ? ORDER BY seq DESC LIMIT ?", (model, rollout, most)
    )
    return [msgspec.json.decode(unpack_record(packed), type=RolloutDecision) for (packed,) in rows]


def verdict_of(decision: RolloutDecision) -> Verdict:
    """What a program that asks should do: take the candidate (`pass`), roll back (`harm`), or wait (`hold`)."""
    if decision.state == "promoted":
        return "pass"
    return "harm" if _gave_back(decision) else "hold"


def _gave_back(decision: RolloutDecision) -> bool:
    """Whether the rollout is over, and the primary has all requests."""
    over = decision.state in ("rolled_back", "aborted", "inconclusive")
    return over and not decision.weights.get(decision.candidate)


def verdict_view(store: Snapshot, model: str, rollout: str) -> dict[str, Any]:
    """The verdict on a rollout; `none` where there is no such rollout."""
    found = _decisions(store, model, rollout, 1)
    if not found:
        return {"verdict": "none", "model": model, "rollout": rollout, "reason": "no such rollout was ever started"}
    last = found[0]
    return {
        "verdict": verdict_of(last), "model": model, "rollout": rollout, "seq": last.seq, "ts": last.ts,
        "state": last.state, "step": last.step, "weights": last.weights, "holds": last.holds, "reason": last.reason,
    }  # fmt: skip


def is_open(store: Snapshot, model: str, rollout: str, gate: Gate) -> bool:
    """Whether a gate lets through: to more weight, to the promotion, or to the rollback."""
    found = _decisions(store, model, rollout, 1)
    if not found:
        return False
    last = found[0]
    match gate:
        case "rollback":
            return _gave_back(last)
        case "promote":
            return last.state == "promoted"
        case "advance":
            return last.state in ("running", "promoted")
