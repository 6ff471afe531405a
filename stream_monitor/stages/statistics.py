"""What telemetry shows of a stage after a commit: counts since the last one, and how things stand.

Every field reaches a metric (`telemetry/metrics.py`); `tests/telemetry/test_metrics.py` holds that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StageStatistics:
    """Of a stage that has none of its own, as rekey."""

    problem: str | None = None
    """What is worth a warning in the log, once."""


@dataclass(frozen=True, slots=True)
class DescribeStatistics(StageStatistics):
    """Of describe."""

    rejects: Mapping[str, int] = field(default_factory=dict)
    """Events since the last commit that became dead letters, by reason."""
    summed: int = 0
    """Of these, those without a letter of their own."""
    late: Mapping[str, int] = field(default_factory=dict)
    """Events since the last commit that came after their pane had closed, by topic role."""
    duplicates: Mapping[str, int] = field(default_factory=dict)
    """Events since the last commit whose id had come before, by topic role."""
    evicted: int = 0
    """Predictions, labels and signals that were dropped since the last commit, for too many waited."""
    overflow: int = 0
    """Labels, signals and predictions since the last commit that found no place: too many of one id or name."""
    pending: int = 0
    """Rows that wait to be joined."""
    misplaced_keys: Mapping[str, int] = field(default_factory=dict)
    """Keys of a sample that lie in another partition than theirs, by topic role."""


@dataclass(frozen=True, slots=True)
class JudgeStatistics(StageStatistics):
    """Of judge."""

    models: int = 0
    open_alerts: int = 0
    watermarks: Mapping[int, int] = field(default_factory=dict)
    """Event time (ms) up to which panes are closed, by profiles partition."""
    open_bytes: int = 0
    """What is held of panes that have not closed."""
    waiting: int = 0
    """Partitions whose judge holds so much that it has asked workers to wait."""
    waits: int = 0
    """How often one began to ask since the last commit."""
    refused_records: int = 0
    """Records of describe since the last commit that a judge could not merge, for they are of other settings."""
    lost_labels: int = 0
    """Labels since the last commit that came for windows which were final already."""
    after_idle: int = 0
    """Events since the last commit that came for panes which had closed."""
