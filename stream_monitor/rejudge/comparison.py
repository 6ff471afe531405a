"""What would have rung with other settings or another baseline: the retained profiles of an app, judged again.

`Alert.id` is a hash of what an alert is about and of when it opened, so the same alert has the same id in both lives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.judge.model import JudgeOutput


@dataclass(frozen=True)
class Scope:
    """What is asked about: a model, and event time [since, until) in epoch ms, of openings and starts of windows."""

    model: str | None = None
    since: int = -(2**63)
    until: int = 2**63

    def contains(self, said: JudgeOutput) -> bool:
        """Whether an alert or a metric belongs to it; nothing else does."""
        if not isinstance(said, Alert | Metric):
            return False
        start = said.opened_ts if isinstance(said, Alert) else said.window_start
        return self.model in (None, said.model) and self.since <= start < self.until


@dataclass
class Count:
    """Alerts of one measure of a model."""

    then: int = 0
    now: int = 0
    both: int = 0


@dataclass
class Comparison:
    """Alerts as they were and as they would be; an alert is the list of its records, oldest first."""

    then: dict[str, list[Alert]] = field(default_factory=lambda: defaultdict(list))
    now: dict[str, list[Alert]] = field(default_factory=lambda: defaultdict(list))
    not_comparable: set[str] = field(default_factory=set)
    """Alerts that opened before the retained profiles begin: nobody can say what they would be."""

    def add_published(self, alerts: Iterable[Alert], begins: Callable[[str], int]) -> None:
        """Take in published records; `begins` says from when on (epoch ms) the profiles of a model are there."""
        for alert in alerts:
            if alert.opened_ts < begins(alert.model):
                self.not_comparable.add(alert.id)
            else:
                self.then[alert.id].append(alert)

    def add_rejudged(self, alert: Alert) -> None:
        """Take in a record of the new life."""
        self.now[alert.id].append(alert)

    @property
    def disappeared(self) -> list[Alert]:
        """First records of the alerts that would not be, by time."""
        return _first(self.then[key] for key in self.then.keys() - self.now.keys())

    @property
    def appeared(self) -> list[Alert]:
        """First records of the alerts that were not, by time."""
        return _first(self.now[key] for key in self.now.keys() - self.then.keys())

    @property
    def changed(self) -> list[Alert]:
        """First records of those in both lives whose records differ in status, severity or time."""
        both = self.then.keys() & self.now.keys()
        return _first(self.now[key] for key in both if _course(self.then[key]) != _course(self.now[key]))

    def counts(self) -> Iterator[tuple[str, str, Count]]:
        """(model, measure, alerts), in that order."""
        found: dict[tuple[str, str], Count] = defaultdict(Count)
        for key in self.then.keys() | self.now.keys():
            one = (self.then.get(key) or self.now[key])[0]
            count = found[one.model, one.measure]
            count.then += key in self.then
            count.now += key in self.now
            count.both += key in self.then and key in self.now
        for (model, measure), count in sorted(found.items()):
            yield model, measure, count


def _first(alerts: Iterable[list[Alert]]) -> list[Alert]:
    return sorted((records[0] for records in alerts), key=lambda alert: (alert.opened_ts, alert.id))


def _course(records: list[Alert]) -> list[tuple[str, int, str, int]]:
    return sorted((r.status, r.revision, r.severity, r.ts) for r in records)
