"""The sentences of alerts, a recipe a kind of finding, on stored examples."""

from __future__ import annotations

from typing import Any

import pytest

from stream_monitor.events.contracts import Alert, Attribution, ErrorChange, Finding, Moved, SegmentPart
from stream_monitor.events.reason_command import without_command
from stream_monitor.judge.alerts.figures import moment, number, share
from stream_monitor.judge.alerts.reason import outcome_of, reason_of

LATER = "; the labels of that time will tell whether errors follow"
AT = 1_760_037_660_000
"""2025-10-09 19:21 UTC"""
MINUTE = 60_000


def alert(finding: Finding | None, **fields: Any) -> Alert:
    given: dict[str, Any] = {
        "id": "3f9c02abcdef", "status": "open", "revision": 0, "ts": AT + MINUTE, "opened_ts": AT, "model": "fraud",
        "version": "7", "segment": "all", "measure": "amount", "group": "input", "kind": "drift", "severity": "warning",
        "reason": "", "findings": [finding] if finding else [],
    } | fields  # fmt: skip
    return Alert(**given)


def found(detector: str = "ks", direction: Any = "up", score: float = 0.8, **more: Any) -> Finding:
    return Finding(detector=detector, score=score, threshold=more.pop("threshold", 0.1), direction=direction, **more)


def figures(baseline: dict[str, Any], now: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"baseline": baseline, "now": now} | more


LARGER = figures({"n": 10_000, "p50": 20.0, "mean": 31.0}, {"n": 7_190, "p50": 1664.3, "mean": 2_000.0})
TWO_CLASSES = {"name": ["true", "false"], "baseline": [0.31, 0.69], "now": [0.62, 0.38]}
FROM_DE = Attribution(segments=[SegmentPart("country=DE", 0.62, 0.6, 0.02, 0.3, 0.31, 0.04, 0.04, True)])

EXAMPLES: dict[str, tuple[Alert, str]] = {
    "larger": (
        alert(found(evidence=LARGER), attribution=Attribution(error=ErrorChange(state="unknown"))),
        "fraud 7: amount is about 83 times as large (median 20 → 1,664) in 7,190 values, since 19:21 UTC" + LATER,
    ),
    "smaller, from a segment": (
        alert(found("cusum", "down", evidence=figures({"p50": 0.8}, {"n": 10, "p50": 0.36})), attribution=FROM_DE),
        "fraud 7: amount is about 0.45 times as large (median 0.8 → 0.36) in 10 values, since 19:21 UTC; "
        "62% of it from country=DE",
    ),
    "a part of the values": (
        alert(
            found("ks", "down", evidence=figures({"p50": 4.96}, {"n": 600, "p50": 4.45})),
            attribution=Attribution(moved=[Moved(to=-875.8, baseline=0.0, now=0.3167, part=0.5)]),
        ),
        "fraud 7: amount went down (median 4.96 → 4.45, most of all values up to -875.8: 0 % → 31.7 %) in 600 values, "
        "since 19:21 UTC",
    ),
    "a rate": (
        alert(
            found("cusum", change_ts=AT, evidence=figures({"min": 0, "max": 1, "mean": 0.05}, {"n": 40, "mean": 0.25})),
            measure="error", group="outcome",
        ),
        "fraud 7: the error rate went up (5 % → 25 %) in 40 labels, since 19:21 UTC; answers got worse",
    ),
    "a rate by ADWIN": (
        alert(
            found("adwin", evidence={
                "before": {"mean": 0.12}, "after": {"mean": 0.06}, "baseline": {"n": 900, "min": 0.0, "max": 1.0},
            }, direction="down"),
            measure="signal.click", group="human",
        ),
        "fraud 7: the share of signal.click = 1 went down (12 % → 6 %), since 19:21 UTC",
    ),
    "categories of a segment": (
        alert(
            found("psi", "changed", evidence=figures({"n": 2_000}, {"n": 600}, categories=TWO_CLASSES)),
            measure="prediction", group="output", segment="country=DE",
        ),
        "fraud 7 [country=DE]: prediction changed: true 31 % → 62 %, false 69 % → 38 % in 600 values, since 19:21 UTC",
    ),
    "missing": (
        alert(found("missing", evidence={"shares": {"baseline": 0.0, "now": 0.315, "n": 600}}), kind="quality"),
        "fraud 7: amount is missing more often (0 % → 31.5 % of 600 events), since 19:21 UTC",
    ),
    "no longer missing": (
        alert(found("missing", "down", evidence={"shares": {"baseline": 1.0, "now": 0.0, "n": 600}}), kind="quality"),
        "fraud 7: amount is missing less often (100 % → 0 % of 600 events), since 19:21 UTC",
    ),
    "types": (
        alert(found("type_change", evidence={"shares": {"baseline": 0.0, "now": 0.327, "n": 600}}), kind="quality"),
        "fraud 7: amount has values of another type (0 % → 32.7 % of 600 values), since 19:21 UTC",
    ),
    "new categories": (
        alert(
            found("new_categories", evidence={
                "shares": {"baseline": 0.0, "now": 0.31, "n": 600},
                "categories": {"name": ["", "b"], "baseline": [0.0, 0.5], "now": [0.31, 0.35]},
            }), kind="quality", measure="plan",
        ),
        'fraud 7: plan has categories that were not seen before (0 % → 31 % of 600 values): "", since 19:21 UTC',
    ),
    "limit": (
        alert(
            found("latency_ms.p99>250", score=312.4, threshold=250.0, evidence={"n": 600}),
            kind="limit", measure="latency_ms", group="software",
        ),
        "fraud 7: latency_ms.p99 is 312, above the limit 250 in 600 values, since 19:21 UTC",
    ),
    "volume": (
        alert(
            found("volume", "down", 12.0, threshold=270.0, evidence={"baseline": {"n": 9, "min": 540, "max": 660}}),
            measure="volume",
        ),
        "fraud 7: 12 events in 1m, usually 540 to 660, since 19:21 UTC",
    ),
    "a tail": (
        alert(
            found("tail", evidence=figures({"mean": 22.7, "p99": 64.2}, {"n": 600, "mean": 93.1, "p99": 1_204.4})),
            measure="latency_ms", group="software", attribution=Attribution(error=ErrorChange(state="unknown")),
        ),
        "fraud 7: latency_ms has more large values (p99 64.2 → 1,204, mean 22.7 → 93.1) in 600 values, since 19:21 UTC",
    ),
    "rows": (
        alert(
            found("mmd", "changed", evidence={"features": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}),
            measure="joint(features)",
        ),
        "fraud 7: the features together changed, most of all a, b, since 19:21 UTC",
    ),
    "silence": (
        alert(found("silence", "down", 660_300.0, threshold=600_000.0), kind="silence", model="__all__", version="all"),
        "all models: nothing has come for 11m (tolerated: 10m), since 19:21 UTC",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_reason(name: str) -> None:
    record, reason = EXAMPLES[name]
    assert reason_of(record) == f"{reason}. To see more: stream-monitor alerts explain 3f9c02ab"
    assert without_command(reason_of(record)) == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "fraud 7: amount is no longer found beyond its tolerance, at 19:40 UTC, 19m after it began"),
        ({"kind": "limit"}, "fraud 7: amount is within its limit again, at 19:40 UTC, 19m after it began"),
        ({"kind": "silence", "model": "__all__", "version": "all"}, "all models: events come again"),
    ],
)
def test_the_reason_of_an_end(fields: dict[str, Any], reason: str) -> None:
    assert reason_of(alert(None, status="resolved", ts=AT + 19 * MINUTE, **fields)) == reason


MEASURED: dict[str, Any] = {"bound": 0.031, "tolerance": 0.0125, "label_delay": 2 * 3_600_000}


@pytest.mark.parametrize(
    ("state", "now", "fields", "said"),
    [
        ("worse", 0.12, MEASURED, "the error rose with it (5 % → 12 % in 340 labels): this drift matters"),
        (
            "worse", 0.06, MEASURED | {"alarmed": True},
            "the error rose with it (5 % → 6 % in 340 labels): an alert on the error opened: this drift matters",
        ),
        ("better", 0.01, MEASURED, "the error fell with it (5 % → 1 % in 340 labels)"),
        (
            "unchanged", 0.052, MEASURED | {"bound": 0.0112},
            "the error did not rise by more than 1.12 points (5 % → 5.2 % in 340 labels): this drift does not matter "
            "so far",
        ),
        (
            "undecided", 0.052, MEASURED,
            "the labels cannot tell yet whether the error rose (5 % → 5.2 % in 340 labels); a rise by 3.1 points is "
            "possible, 1.25 points are tolerated; half of the labels come within 2h",
        ),
        ("undecided", None, {}, "the labels cannot tell yet whether the error rose"),
    ],
)  # fmt: skip
def test_the_reason_of_an_outcome(state: Any, now: float | None, fields: dict[str, Any], said: str) -> None:
    baseline = None if now is None else 0.05
    change = ErrorChange(state=state, measure="error", n=340, baseline=baseline, now=now, **fields)
    assert outcome_of(alert(None, status="outcome"), change) == f"fraud 7: amount changed at 19:21 UTC, and {said}"


def test_a_moment_on_another_day_has_its_date() -> None:
    assert moment(AT, AT + 86_400_000) == "2025-10-09 19:21 UTC" and moment(AT, AT + MINUTE) == "19:21 UTC"


def test_figures_are_short_and_never_say_none_or_all_where_it_is_not() -> None:
    assert [number(x) for x in (0.0, 1664.3, 123.456, 0.01234, 2e12, 1e-6)] == [
        "0",
        "1,664",
        "123.5",
        "0.0123",
        "2e+12",
        "1e-06",
    ]
    assert [share(x) for x in (0.0, 1.0, 0.99999, 0.00001, 0.3154)] == ["0 %", "100 %", "99.999 %", "0.001 %", "31.5 %"]
