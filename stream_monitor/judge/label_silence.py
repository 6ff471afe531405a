"""The alert of labels, or of feedback, that stopped coming for a model that goes on.

The judge counts minutes of the broker time of describe's records. A minute counts as one without labels when the model
had predictions in it, no label came for the model, and describe had read the labels of all partitions. So neither a
model that pauses, nor a worker that is down or behind, makes its labels silent. A file has no such minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stream_monitor.config.settings import Settings
from stream_monitor.events.contracts import Alert, Finding
from stream_monitor.judge.alerts.lifecycle import AlertKey, EvidenceSpan
from stream_monitor.judge.label_arrivals import GROUPS, ItemsOfModel, LabelArrivals
from stream_monitor.judge.model import ModelJudge
from stream_monitor.profiles.measures import Group
from stream_monitor.profiles.names import ALL_SEGMENTS, OTHER
from stream_monitor.profiles.records import WatermarkRecord

MINUTE = 60_000


def follow_labels(
    state: LabelArrivals,
    models: Mapping[str, ModelJudge],
    record: WatermarkRecord,
    watermark: int,
    arrived: int,
) -> Iterator[Alert]:
    """Judge the minute before when broker time `arrived` (epoch ms) is in another one, then take in a record.

    `watermark` is that of the predictions, which gives the alerts their event time.
    """
    minute = arrived - arrived % MINUTE
    if minute > state.minute:
        if state.minute:
            yield from _judge_minute(state, models, max(record.sources, 1), watermark)
        state.next_minute(minute)
    state.take_watermarks(record)


def _judge_minute(
    state: LabelArrivals, models: Mapping[str, ModelJudge], sources: int, watermark: int
) -> Iterator[Alert]:
    for model, items in sorted(state.arrived):
        if model in models and model != OTHER:
            state.known.setdefault((model, items), ItemsOfModel())
    for items, group in GROUPS.items():
        is_read = len(state.read.get(items, ())) >= sources
        for name in sorted(model for model, kind in state.known if kind == items):
            judge, of = models.get(name), state.known[name, items]
            if judge is None:
                continue
            cause = AlertKey(name, ALL_SEGMENTS, ALL_SEGMENTS, items, "silence")
            if (name, items) in state.arrived:
                of.pauses.arrive()
                of.latest = watermark
                yield from _observe(judge, cause, group, EvidenceSpan(watermark, watermark, MINUTE), [])
            elif is_read and name in state.predicted and of.pauses.wait(_least(judge.settings)):
                if judge.state.alerts.opened(cause) is None:
                    span = EvidenceSpan(of.latest, watermark, MINUTE)
                    yield from _observe(judge, cause, group, span, [_finding(of, judge.settings)])


def _observe(
    judge: ModelJudge, cause: AlertKey, group: Group, span: EvidenceSpan, findings: list[Finding]
) -> Iterator[Alert]:
    rules = judge.settings.detection.model_copy(update={"persistence": 1, "recovery": 1, "cooldown": 0})
    if findings or judge.state.alerts.opened(cause) is not None:
        judge.changed = True
        alert = judge.state.alerts.observe(cause, group, span, findings, rules)
        if alert is not None:
            yield alert


def _least(settings: Settings) -> float:
    """Minutes below which no pause is silence."""
    return max(settings.time.silence_after / MINUTE, 1.0)


def _finding(of: ItemsOfModel, settings: Settings) -> Finding:
    pauses = of.pauses
    return Finding(
        detector="silence",
        score=float(pauses.lasted * MINUTE),
        threshold=float(pauses.longest(_least(settings)) * MINUTE),
        direction="down",
        change_ts=of.latest,
        evidence={
            "silent_ms": pauses.lasted * MINUTE,
            "usual_ms": round(pauses.usual * MINUTE),
            "minutes": pauses.seen,
        },
    )
