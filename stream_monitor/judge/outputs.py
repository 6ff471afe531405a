"""The outputs of a judge until its next commit: the records to publish, and their figures for telemetry."""

from __future__ import annotations

import logging
from collections import Counter

import msgspec

from stream_monitor.events.contracts import Alert, Health
from stream_monitor.events.rollouts import RolloutDecision, decision_key
from stream_monitor.judge.health import Gone, key_of
from stream_monitor.judge.metrics import window_metrics as metrics
from stream_monitor.judge.model import JudgeOutput
from stream_monitor.profiles.bin_catalog import BaselineRecord, EdgesRecord, ProgressRecord, notice_output
from stream_monitor.stages.contract import Output

log = logging.getLogger(__name__)


class OutputBuffer:
    """The outputs since the last commit. Where `health` or `decisions` is false, no topic of that name exists."""

    def __init__(self, health: bool, decisions: bool = True) -> None:
        self._health, self._decisions = health, decisions
        self.records: list[Output] = []
        self.alerts: Counter[tuple[str, str, str]] = Counter()
        """Records of alerts by kind, severity and status."""
        self.closed_windows: Counter[int] = Counter()
        """Records of windows by the broker's time (epoch ms) of the record that closed them."""

    def clear(self) -> None:
        """Forget everything: it is committed, or another judge publishes it."""
        self.records = []
        self.alerts.clear()
        self.closed_windows.clear()

    def add(self, output: JudgeOutput, arrived: int | None = None) -> None:
        """Add an output. `arrived` is the broker's time of the record that led to it; None where no record did."""
        if isinstance(output, Alert):
            self.alerts[output.kind, output.severity, output.status] += 1
            self.records.append(Output("alerts", msgspec.json.encode(output), output.model.encode()))
        elif isinstance(output, Health):
            if self._health:
                self.records.append(Output("health", msgspec.json.encode(output), key_of(output)))
        elif isinstance(output, Gone):
            if self._health:
                self.records.append(Output("health", b"", output.model.encode(), tombstone=True))
        elif isinstance(output, RolloutDecision):
            if self._decisions:
                self.records.append(Output("decisions", msgspec.json.encode(output), decision_key(output)))
            else:
                log.error("nobody hears of %s of rollout %s: the topic decisions is missing. `topics create` makes it",
                          output.decision, output.rollout)  # fmt: skip
        elif isinstance(output, EdgesRecord | BaselineRecord | ProgressRecord):
            key, value = notice_output(output)
            self.records.append(Output("baselines", value, key))
        else:
            if arrived is not None:
                self.closed_windows[arrived] += 1
            key, value = metrics.encode(output)
            self.records.append(Output("metrics", value, key))
