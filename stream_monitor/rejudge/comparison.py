"""Compares published alerts and decisions with those that other settings or another baseline would have given.

For that, the retained profiles of an app are judged again. `Alert.id` is a hash of the alert's cause and opening time,
so the same alert has the same id in both runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from stream_monitor.events.contracts import Alert, Metric
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.judge.model import JudgeOutput


@dataclass(frozen=True)
class Scope:
    """The scope of a comparison: a model (None: all), and event time [since, until) in epoch ms.

    The time applies to the openings of alerts, to the starts of windows, and to the decisions about rollouts.
    """

    model: str | None = None
    since: int = -(2**63)
    until: int = 2**63

    def contains(self, output: JudgeOutput) -> bool:
        """Whether an alert, a metric or a decision lies in the scope; other outputs never do."""
        if isinstance(output, RolloutDecision):
            return self.model in (None, output.model) and self.since <= output.ts < self.until
        if not isinstance(output, Alert | Metric):
            return False
        start = output.opened_ts if isinstance(output, Alert) else output.window_start
        return self.model in (None, output.model) and self.since <= start < self.until


@dataclass
class Count:
    """The numbers of alerts of one measure of a model: published, rejudged, and in both."""

    then: int = 0
    now: int = 0
    both: int = 0


@dataclass
class RolloutPair:
    """A rollout in both runs."""

    model: str
    rollout: str
    then: list[RolloutDecision] = field(default_factory=list)
    now: list[RolloutDecision] = field(default_factory=list)

    @property
    def same(self) -> int:
        """Decisions of both runs that agree in name, time, step and weights."""
        return len({*map(_decided, self.then)} & {*map(_decided, self.now)})


@dataclass
class DecisionComparison:
    """The decisions about rollouts that are more than a report: those that were published, and the rejudged ones."""

    then: list[RolloutDecision] = field(default_factory=list)
    now: list[RolloutDecision] = field(default_factory=list)

    def add_published(self, decisions: Iterable[RolloutDecision], begins: Callable[[str], int]) -> None:
        """Add published records. Rollouts that started before the retained profiles of their model are left out."""
        cut = set[tuple[str, str]]()
        for decision in decisions:
            key = decision.model, decision.rollout
            if decision.ts < begins(decision.model):
                cut.add(key)
            if key not in cut and decision.decision != "progress":
                self.then.append(decision)

    def add_rejudged(self, decision: RolloutDecision) -> None:
        """Add a record of the rejudged run."""
        if decision.decision != "progress":
            self.now.append(decision)

    def rollouts(self) -> Iterator[RolloutPair]:
        """Each rollout that was decided about, by model and name. A record that was published twice counts once.

        One of which only refusals are known had begun before the retained profiles, or never.
        """
        found: dict[tuple[str, str], RolloutPair] = {}
        for decisions, run in ((self.then, "then"), (self.now, "now")):
            seen = set[str]()
            for one in decisions:
                pair = found.setdefault((one.model, one.rollout), RolloutPair(one.model, one.rollout))
                if one.id not in seen:
                    getattr(pair, run).append(one)
                seen.add(one.id)
        for key in sorted(found):
            if any(one.decision != "refused" for one in (*found[key].then, *found[key].now)):
                yield found[key]


def _decided(one: RolloutDecision) -> tuple[str, int, int, str]:
    return one.decision, one.ts, one.step, repr(sorted(one.weights.items()))


@dataclass
class Comparison:
    """The published alerts (`then`) and the rejudged ones (`now`). An alert is a list of records, oldest first."""

    then: dict[str, list[Alert]] = field(default_factory=lambda: defaultdict(list))
    now: dict[str, list[Alert]] = field(default_factory=lambda: defaultdict(list))
    not_comparable: set[str] = field(default_factory=set)
    """Alerts that opened before the retained profiles begin. They cannot be rejudged."""
    decisions: DecisionComparison = field(default_factory=DecisionComparison)

    def add_published(self, alerts: Iterable[Alert], begins: Callable[[str], int]) -> None:
        """Add published records. `begins` returns the time (epoch ms) at which a model's retained profiles begin."""
        for alert in alerts:
            if alert.opened_ts < begins(alert.model):
                self.not_comparable.add(alert.id)
            else:
                self.then[alert.id].append(alert)

    def add_rejudged(self, alert: Alert) -> None:
        """Add a record of the rejudged run."""
        self.now[alert.id].append(alert)

    @property
    def disappeared(self) -> list[Alert]:
        """First records of the alerts that were published and are not in the rejudged run, by time."""
        return _first(self.then[key] for key in self.then.keys() - self.now.keys())

    @property
    def appeared(self) -> list[Alert]:
        """First records of the alerts in the rejudged run that were not published, by time."""
        return _first(self.now[key] for key in self.now.keys() - self.then.keys())

    @property
    def changed(self) -> list[Alert]:
        """First rejudged records of alerts in both runs whose records differ in status, revision, severity or time."""
        both = self.then.keys() & self.now.keys()
        return _first(self.now[key] for key in both if _course(self.then[key]) != _course(self.now[key]))

    def counts(self) -> Iterator[tuple[str, str, Count]]:
        """(model, measure, count), ordered by model and measure."""
        by_measure: dict[tuple[str, str], Count] = defaultdict(Count)
        for key in self.then.keys() | self.now.keys():
            first = (self.then.get(key) or self.now[key])[0]
            count = by_measure[first.model, first.measure]
            count.then += key in self.then
            count.now += key in self.now
            count.both += key in self.then and key in self.now
        for (model, measure), count in sorted(by_measure.items()):
            yield model, measure, count


def _first(alerts: Iterable[list[Alert]]) -> list[Alert]:
    return sorted((records[0] for records in alerts), key=lambda alert: (alert.opened_ts, alert.id))


def _course(records: list[Alert]) -> list[tuple[str, int, str, int]]:
    return sorted((r.status, r.revision, r.severity, r.ts) for r in records)
