"""Read an app's topics, and compare its output with its input."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stream_monitor.config.recorded import adopted
from stream_monitor.config.settings import ROLES_IN, Settings
from stream_monitor.describe.rekey import TARGET, id_of
from stream_monitor.errors import BrokerError
from stream_monitor.formats.contract import text_of
from stream_monitor.formats.registry import format_of
from stream_monitor.kafka.topic_reader import Span, TopicReader
from stream_monitor.kafka.topics import inspect
from stream_monitor.stages.contract import Partition
from stream_monitor.verify.compare import compare
from stream_monitor.verify.expected import Expected
from stream_monitor.verify.published import Published

OUTPUT = ("profiles", "metrics", "alerts", "dead-letters")
LOG_APPEND_TIME = 2
"""The type of a record's timestamp that the broker has set."""
PATIENCE_S = 120.0
STANDSTILL_S = 10.0
"""A judge that is behind and has not committed for so long is taken for one that does not run."""


@dataclass(slots=True)
class Report:
    """What was compared, and the differences."""

    events: dict[str, int]
    """Input records by topic role, up to the committed offsets."""
    cells: int = 0
    windows: int = 0
    alerts: int = 0
    unread: int = 0
    """Input records that no stage has committed yet."""
    unjudged: int = 0
    """Records of `profiles` that no judge has read, and none is about to: then windows are not compared."""
    problems: list[str] = field(default_factory=list)


def verify(
    settings: Settings, settled: bool, progress: Callable[[int, int], None] = lambda done, total: None
) -> Report:
    """Recompute the output from the input up to the committed offsets, and compare; for `settled` see `compare`.

    The function calls `progress` with the number of records read, and with the total.

    Raises:
        BrokerError: no answer, the input has expired, or the app kept moving while its topics were read.
    """
    rekeyed = inspect(settings).rekey
    moved = rekeyed_wrongly(TopicReader(settings)) if rekeyed else []
    audit = TopicReader(settings.behind_rekey() if rekeyed else settings)
    deadline = time.monotonic() + PATIENCE_S
    profiles = audit.partitions("profiles")
    judged, since = audit.committed("judge", profiles), time.monotonic()
    while True:
        report = _verify(audit, settled, progress, time.monotonic() - since > STANDSTILL_S)
        if report is not None:
            report.problems[:0] = moved
            return report
        before, judged = judged, audit.committed("judge", profiles)
        since = since if judged == before else time.monotonic()
        if time.monotonic() > deadline and time.monotonic() - since <= STANDSTILL_S:
            raise BrokerError(
                f"the app went on counting for {PATIENCE_S:.0f} s while its topics were read: stop its producers, and "
                "verify again"
            )
        time.sleep(0.2)


def _require_all(audit: TopicReader, spans: Mapping[Partition, Span]) -> None:
    expired = [p for p, span in spans.items() if span.first > 0]
    if expired:
        names = ", ".join(f"{audit.settings.topic(role)}/{number}" for role, number in expired)
        raise BrokerError(f"{names}: the oldest records have expired, so the output cannot be recomputed")


def rekeyed_wrongly(audit: TopicReader) -> list[str]:
    """Compare labels and feedback up to the rekey stage's offsets with the records that it has put under their ids."""
    sources = [partition for role in TARGET for partition in audit.partitions(role)]
    targets = [partition for role in TARGET.values() for partition in audit.partitions(role)]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        committed = audit.committed("rekey", sources)
        written = audit.decided(targets)
        if audit.committed("rekey", sources) == committed:
            break
        if time.monotonic() > deadline:
            raise BrokerError("the rekey stage went on while its topics were read: stop producers, and verify again")
    held = audit.spans(sources)
    _require_all(audit, held | written)
    read = {p: Span(span.first, committed.get(p, span.first)) for p, span in held.items()}
    balance: Counter[tuple[str, bytes, bytes]] = Counter()
    for role, message in audit.read(read):
        value = message.value() or b""
        text = text_of(format_of(audit.settings.topics.formats, role), message)
        balance[TARGET[role], id_of(text), value] += 1
    for role, message in audit.read(written):
        balance[role, message.key() or b"", message.value()] -= 1
    wrong = [(role, key, n) for (role, key, _), n in balance.items() if n]
    return [
        f"{role}: the record of id {key!r} is {'missing' if n > 0 else 'there too often'}" for role, key, n in wrong
    ]


def _verify(
    audit: TopicReader, settled: bool, progress: Callable[[int, int], None], stands_still: bool
) -> Report | None:
    """The report; None when the app moved meanwhile, or when the judge is behind and does not stand still."""
    inputs = [partition for role in ROLES_IN for partition in audit.partitions(role)]
    committed = audit.committed("describe", inputs)
    judged = audit.committed("judge", audit.partitions("profiles"))
    written = audit.decided([partition for role in OUTPUT for partition in audit.partitions(role)])
    held = audit.spans(inputs)
    read = {p: Span(span.first, committed.get(p, span.first)) for p, span in held.items()}
    _require_all(audit, held | written)
    truth, published = Expected(audit.settings), Published()
    total = sum(span.end - span.first for span in [*read.values(), *written.values()])
    done = unjudged = 0
    for role, message in audit.read(read):
        kind, at = message.timestamp()
        place, headers = (message.partition(), message.offset()), message.headers() or ()
        truth.feed(role, *place, at, message.value(), kind == LOG_APPEND_TIME, headers)
        done += 1
        progress(done, total)
    for role, message in audit.read(written):
        counted = published.feed(role, message.value())
        if counted and message.offset() >= judged.get((role, message.partition()), 0):
            if not stands_still:
                return None  # the judge has not read it yet
            unjudged += 1
        done += 1
        progress(done, total)
    if audit.committed("describe", inputs) != committed:
        return None
    truth.absent_signals(published.feedback)
    if unjudged and audit.committed("judge", audit.partitions("profiles")) != judged:
        return None
    settings = audit.settings if published.settings is None else adopted(audit.settings, published.settings)
    return Report(
        events=dict(truth.events),
        cells=len(truth.traffic) + len(truth.performance),
        windows=len(published.metrics),
        alerts=len(published.alerts),
        unread=sum(span.end - read[p].end for p, span in held.items()),
        unjudged=unjudged,
        problems=published.foreign + list(compare(settings, truth, published, settled, not unjudged)),
    )
