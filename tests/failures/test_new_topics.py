"""Topics that are deleted and made anew under an app: nothing of the new ones is lost in silence (failure test 7)."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest

from stream_monitor.config.settings import ROLES_IN
from stream_monitor.kafka.client_config import admin
from stream_monitor.kafka.topic_reader import Span, TopicReader
from stream_monitor.kafka.topics import ready
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.records import DeltaRecord, read_record
from stream_monitor.stages.contract import Partition
from stream_monitor.verify.run import verify
from tests.failures.fleet import Fleet, Traffic, Worker, settle
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.kafka
STAGE = {"predictions": "describe", "labels": "describe", "pending": "describe", "profiles": "judge", "state": "judge"}
WAYS = ("down", "running", "frozen", "supervised")


def make_anew(fleet: Fleet, role: str) -> None:
    """Delete a topic, and make it again as soon as the broker has forgotten it."""
    client, topic = admin(fleet.rules), fleet.rules.topic(role)
    client.delete_topics([topic])[topic].result(30)
    deadline = time.monotonic() + PATIENCE_S
    while topic in client.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
    ready(fleet.rules)


def stops(fleet: Fleet, worker: Worker, role: str) -> None:
    """The worker ends by itself, and says which topic it was."""
    assert worker.ended() == 1, worker.said()
    assert fleet.rules.topic(role) in worker.said(), worker.said()


def refuses_at_every_start(fleet: Fleet, role: str, starts: int) -> None:
    """As a supervisor would, again and again: no start goes on with the new topic."""
    for _ in range(starts):
        worker = fleet.start(STAGE[role])
        stops(fleet, worker, role)
        assert "--accept-new-topics" in worker.said(), worker.said()


def evaluation(fleet: Fleet, way: str, role: str, seed: int, starts: int) -> None:
    """What is sent to the new topic is longer than what was committed of the old one: offsets alone cannot tell."""
    rng, stage = random.Random(seed), STAGE[role]
    traffic = Traffic(fleet.rules, seed)
    fleet.heal()
    traffic.send(rng.randrange(200, 800))
    settle(fleet, traffic)
    (worker,) = fleet.running(stage)
    if way in ("down", "supervised"):
        worker.signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
        worker.ended()
    elif way == "frozen":
        worker.signal(signal.SIGSTOP)
    make_anew(fleet, role)
    Traffic(fleet.rules, seed + 1).send(rng.randrange(1_000, 2_000))
    if way in ("running", "frozen"):
        worker.signal(signal.SIGCONT)
        stops(fleet, worker, role)
    refuses_at_every_start(fleet, role, starts if way == "supervised" else 1)
    before, former = ends(fleet, ("profiles", "dead-letters")), set(ids_committed(fleet, stage))
    accepted = fleet.start(stage, new_topics=True)
    deadline = time.monotonic() + PATIENCE_S
    while not (named_anew(fleet, stage, former) and drained(fleet, role)):
        assert accepted.running() and time.monotonic() < deadline, accepted.said()
    accepted.signal(signal.SIGTERM)
    assert accepted.ended() == 0, accepted.said()
    if role == "predictions":
        assert counted(fleet, before) == sum(end for end in ends(fleet, ("predictions",)).values())
    again = fleet.start(stage)  # without the flag: what was accepted is accepted
    deadline = time.monotonic() + PATIENCE_S
    while "assigned" not in again.said():
        assert again.running() and time.monotonic() < deadline, again.said()
        time.sleep(0.05)


def ends(fleet: Fleet, roles: tuple[str, ...]) -> dict[Partition, int]:
    audit = TopicReader(fleet.rules)
    spans = audit.decided([partition for role in roles for partition in audit.partitions(role)])
    return {partition: span.end for partition, span in spans.items()}


def counted(fleet: Fleet, before: dict[Partition, int]) -> int:
    """Predictions that are counted, or are dead letters, in what came after these offsets."""
    audit, found = TopicReader(fleet.rules), 0
    spans = {
        partition: Span(before[partition], end) for partition, end in ends(fleet, ("profiles", "dead-letters")).items()
    }
    for role, message in audit.read(spans):
        if role == "dead-letters":
            letter = json.loads(message.value())
            found += letter.get("count", 1) if letter["topic"] == fleet.rules.topic("predictions") else 0
            continue
        record = read_record(message.value())
        for delta in record.deltas if isinstance(record, DeltaRecord) else ():
            if delta.timeline == "input":
                everything = [segment == ALL_SEGMENTS for segment in delta.segment]
                found += int(delta.counts[everything].sum())
    return found


def ids_committed(fleet: Fleet, stage: str) -> list[str]:
    """The ids of topics that the offsets of a stage name, a text a partition; nothing where there is no offset."""
    audit, roles = TopicReader(fleet.rules), ROLES_IN if stage == "describe" else ("profiles",)
    parts = [partition for role in roles for partition in audit.partitions(role)]
    found = [json.dumps(json.loads(metadata)["ids"], sort_keys=True) for metadata in audit.metadata(stage, parts)]
    return found + [""] * (len(parts) - len(found))


def named_anew(fleet: Fleet, stage: str, former: set[str]) -> bool:
    """Whether every partition has been committed since, with the ids of the topics that there are now."""
    now = set(ids_committed(fleet, stage))
    return len(now) == 1 and not now & (former | {""})


def drained(fleet: Fleet, role: str) -> bool:
    """Whether the stage has read its topics to their ends, the new one from its beginning."""
    audit, stage = TopicReader(fleet.rules), STAGE[role]
    parts = [p for r in ("predictions", "labels", "feedback") for p in audit.partitions(r)]
    parts = parts if stage == "describe" else audit.partitions("profiles")
    done, ends = audit.committed(stage, parts), audit.spans(parts)
    return all(done.get(part, 0) >= ends[part].end for part in parts if ends[part].end > ends[part].first)


@pytest.mark.parametrize(
    ("way", "role"),
    [
        ("down", "predictions"),
        ("running", "profiles"),
        ("frozen", "predictions"),
        ("supervised", "state"),
    ],
)
def test_a_topic_made_anew_is_a_loud_stop_and_who_accepts_loses_nothing_of_it(
    fleet: Fleet, way: str, role: str
) -> None:
    evaluation(fleet, way, role, 71, starts=3)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", STAGE)
def test_in_each_way_with_each_topic(fleet: Fleet, way: str, role: str, seeds: int, first_seed: int) -> None:
    evaluation(fleet, way, role, 80 + first_seed, starts=10)


def test_predictions_made_anew_are_counted_whole_by_who_accepts(fleet: Fleet) -> None:
    """All outputs begin anew with the input: then they must be exactly what the new topic says."""
    traffic = Traffic(fleet.rules, 75)
    fleet.heal()
    traffic.send(600)
    settle(fleet, traffic)
    fleet.stop()
    for role in ("predictions", "labels", "feedback", "pending", "profiles", "state", "metrics", "alerts"):
        make_anew(fleet, role)
    make_anew(fleet, "dead-letters")
    fresh = Traffic(fleet.rules, 76)
    fresh.send(2_000)
    for stage in ("describe", "judge"):
        fleet.start(stage, new_topics=True)
    report = settle(fleet, fresh)
    assert report.events["predictions"] >= 2_000 and not verify(fleet.rules, settled=True).problems
