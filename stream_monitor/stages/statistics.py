"""The figures of a stage for telemetry after a commit: counts since the last one, and the current state.

Every field reaches a metric (`telemetry/metrics.py`); `tests/telemetry/test_metrics.py` checks that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class RejectExample(NamedTuple):
    """Events of a commit that were refused for one reason, and the first of them."""

    events: int
    place: str
    """Topic, partition and offset."""
    error: str


@dataclass(frozen=True, slots=True)
class StageStatistics:
    """The figures of a stage without figures of its own, such as rekey."""

    problem: str | None = None
    """A problem that the log warns of, once."""


@dataclass(frozen=True, slots=True)
class DescribeStatistics(StageStatistics):
    """The figures of describe."""

    rejects: Mapping[str, int] = field(default_factory=dict)
    """Events since the last commit that became dead letters, by reason."""
    refused: Mapping[tuple[str, str], RejectExample] = field(default_factory=dict)
    """The same by topic role and reason, with an example of each for the log."""
    summed: int = 0
    """The dead letters among these that have no record of their own."""
    late: Mapping[str, int] = field(default_factory=dict)
    """Events since the last commit that arrived after their pane had closed, by topic role."""
    duplicates: Mapping[str, int] = field(default_factory=dict)
    """Events since the last commit whose id had arrived before, by topic role."""
    evicted: int = 0
    """Predictions, labels and signals dropped since the last commit because too many rows waited."""
    overflow: int = 0
    """Labels, signals and predictions since the last commit for which there was no room: too many of one id or name."""
    unpaired: int = 0
    """Predictions since the last commit that make pairs only with the last ones of their id: there are too many."""
    pending: int = 0
    """Rows that wait for their join."""
    misplaced_keys: Mapping[str, int] = field(default_factory=dict)
    """Keys of a sample that lie in a wrong partition, by topic role."""


@dataclass(frozen=True, slots=True)
class JudgeStatistics(StageStatistics):
    """The figures of judge."""

    alerts: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    """Records of alerts since the last commit, by kind, severity and status."""
    closed_windows: Mapping[int, int] = field(default_factory=dict)
    """Records of windows since the last commit, by the broker's time (epoch ms) of the record that closed them."""
    models: int = 0
    open_alerts: int = 0
    watermarks: Mapping[int, int] = field(default_factory=dict)
    """Event time (ms) up to which panes are closed, by profiles partition."""
    open_bytes: int = 0
    """Bytes that judge holds of panes that have not closed."""
    waiting: int = 0
    """Partitions whose judge holds so much that it has asked workers to wait."""
    waits: int = 0
    """How often a partition began to ask since the last commit."""
    refused_records: int = 0
    """Records of describe since the last commit that a judge could not merge because they have other settings."""
    lost_labels: int = 0
    """Labels since the last commit that arrived for windows which were final already."""
    after_idle: int = 0
    """Events since the last commit that arrived for panes which had closed."""
