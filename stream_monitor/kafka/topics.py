"""The topics of an app: their required configuration, their creation, and problems of those that exist."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

from stream_monitor.config.settings import ROLES, ROLES_OPTIONAL, ROLES_REKEYED, Settings
from stream_monitor.errors import BrokerError, TopicsError
from stream_monitor.kafka.client_config import CALL_S, admin, connected
from stream_monitor.stages.topology import Topology

log = logging.getLogger(__name__)

DAY = 86_400_000
JOINED = ("predictions", "labels", "feedback")


STAMPED = ("predictions", "feedback", "observations")
"""Input topics whose records get the broker's time where we make them, so that `max_skew` knows a clock that is ahead.

A label without `ts` has its record's time, so labels keep their producers'."""
RECEIPTS = {"cleanup.policy": "delete", "retention.ms": str(30 * DAY)}
LOG_APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}


def wanted_config(settings: Settings) -> dict[str, dict[str, str]]:
    """Configuration by role of the topics that we make."""
    return demanded_config(settings) | dict.fromkeys(STAMPED, LOG_APPEND_TIME) | {"receipts": RECEIPTS}


def demanded_config(settings: Settings) -> dict[str, dict[str, str]]:
    """Configuration by role without which no worker starts; only what correctness needs."""
    pending_ms = max(2 * settings.join.label_horizon, DAY)
    return {
        "profiles": {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"},
        "pending": {"cleanup.policy": "delete", "retention.ms": str(pending_ms)},
        # records keep the time of their source, which may be older than any retention
        **{role: {"cleanup.policy": "delete", "retention.ms": "-1"} for role in ROLES_REKEYED},
        "state": {"cleanup.policy": "compact"},
        "health": {"cleanup.policy": "compact"},
        "remarks": {"cleanup.policy": "compact"},
        "baselines": {"cleanup.policy": "compact"},
        "decisions": {"cleanup.policy": "delete", "retention.ms": "-1"},
    }


@dataclass(slots=True)
class TopicReport:
    """The state of an app's topics."""

    partitions: dict[str, int]
    """By role; missing topics are absent."""
    problems: list[str]
    rekey: bool
    """A rekey stage must come first: the settings demand it, or partition counts differ."""
    advice: list[str] = field(default_factory=list)
    """What would be better, and is no problem."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of all topics that the app needs."""
        left_out = {*ROLES_OPTIONAL, *(() if self.rekey else ROLES_REKEYED)}
        return tuple(role for role in ROLES if role not in left_out)

    @property
    def missing(self) -> list[str]:
        """Roles of topics that do not exist."""
        return [role for role in self.roles if role not in self.partitions]

    @property
    def wanted(self) -> list[str]:
        """The missing topics, and optional ones that do not exist: the topics to create."""
        return [*self.missing, *(role for role in ROLES_OPTIONAL if role not in self.partitions)]


def inspect(settings: Settings, client: AdminClient | None = None) -> TopicReport:
    """The topics that exist, and their problems; BrokerError when no broker answers."""
    client = client or connected(settings)
    try:
        known = client.list_topics(timeout=CALL_S).topics
    except KafkaException as error:
        raise BrokerError(f"no answer from {settings.kafka.bootstrap_servers}: {error.args[0].str()}") from error
    partitions = {role: len(known[settings.topic(role)].partitions) for role in ROLES if settings.topic(role) in known}
    rekey = settings.join.rekey or len({partitions[role] for role in JOINED if role in partitions}) > 1
    problems = _count_problems(settings, partitions, rekey) + _config_problems(settings, client, partitions)
    return TopicReport(partitions, problems, rekey, _advice(settings, client, partitions))


def _count_problems(settings: Settings, partitions: dict[str, int], rekey: bool) -> list[str]:
    joined = ("predictions", *(ROLES_REKEYED if rekey else JOINED[1:]), "pending")
    counts = {role: partitions[role] for role in joined if role in partitions}
    problems = []
    if len(set(counts.values())) > 1:
        summary = ", ".join(f"{settings.topic(role)} {count}" for role, count in counts.items())
        problems.append(
            f"partition counts differ, so labels cannot meet their predictions: {summary}. If the inputs got more "
            "partitions, `run --accept-repartition` grows our own topics and goes on; labels miss predictions whose "
            "ids have moved"
        )
    if partitions.get("state", 0) != partitions.get("profiles", 0):
        problems.append(_state_problem(settings, partitions))
    return problems


def _state_problem(settings: Settings, partitions: dict[str, int]) -> str:
    """The partition counts, and the command to run: a judge keeps its state beside the profiles that it reads."""
    counts = {settings.topic(role): partitions.get(role, 0) for role in ("state", "profiles")}
    summary = " and ".join(f"{topic} has {count or 'none'}" for topic, count in counts.items())
    missing = [topic for topic, count in counts.items() if not count]
    if missing:
        return f"{summary}, but they must have the same number of partitions: `stream-monitor topics create` makes it"
    few, many = min(counts, key=lambda topic: counts[topic]), max(counts.values())
    command = f"kafka-topics.sh --bootstrap-server {settings.kafka.bootstrap_servers} --alter --topic {few}"
    return f"{summary} partitions, but they must have the same number: {command} --partitions {many}"


def _config_problems(settings: Settings, client: AdminClient, partitions: dict[str, int]) -> list[str]:
    demanded = partitions.keys() - set(ROLES_OPTIONAL)
    wanted = {role: config for role, config in demanded_config(settings).items() if role in demanded}
    problems = []
    for role, actual in _described(settings, client, list(wanted)):
        for key, value in wanted[role].items():
            found = actual[key].value
            short = key == "retention.ms" and 0 <= int(found) and (int(value) < 0 or int(found) < int(value))
            if short or (key != "retention.ms" and found != value):
                problems.append(
                    f"{settings.topic(role)}: {key} is {found}, must be {value}: {_alter(settings, role, key)}"
                )
    return problems


def _described(settings: Settings, client: AdminClient, roles: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """(role, configuration) of topics that exist."""
    resources = {ConfigResource(ResourceType.TOPIC, settings.topic(role)): role for role in roles}
    if not resources:
        return
    for resource, future in client.describe_configs(list(resources), request_timeout=CALL_S).items():
        role = resources[resource]
        try:
            yield role, future.result()
        except KafkaException as error:
            raise BrokerError(
                f"cannot read the configuration of {settings.topic(role)}: {error.args[0].str()}"
            ) from error


def _advice(settings: Settings, client: AdminClient, partitions: dict[str, int]) -> list[str]:
    """Input topics whose records have their producers' times: a clock that is ahead moves event time with it."""
    (key, value), advice = next(iter(LOG_APPEND_TIME.items())), []
    for role, actual in _described(settings, client, [role for role in STAMPED if role in partitions]):
        if (found := actual[key].value) != value:
            advice.append(
                f"{settings.topic(role)}: {key} is {found}, so time.max_skew compares a producer's clock with itself; "
                f"with {value} it refuses a clock that is ahead: {_alter(settings, role, key)}"
            )
    return advice


def _alter(settings: Settings, role: str, key: str) -> str:
    """The command that gives a topic its required configuration."""
    return (
        f"kafka-configs.sh --bootstrap-server {settings.kafka.bootstrap_servers} --alter --entity-type topics "
        f"--entity-name {settings.topic(role)} --add-config {key}={wanted_config(settings)[role][key]}"
    )


def create(settings: Settings) -> list[str]:
    """Create the missing topics; returns their names."""
    client = connected(settings)
    report = inspect(settings, client)
    existing = report.partitions
    inputs = next((existing[role] for role in JOINED if role in existing), settings.topics.partitions)
    counts = dict.fromkeys((*JOINED, *ROLES_REKEYED, "pending", "observations"), inputs)
    counts |= {"state": existing.get("profiles", inputs), "profiles": existing.get("state", inputs)}
    config = wanted_config(settings)
    missing = report.wanted
    topics = [
        NewTopic(
            settings.topic(role),
            num_partitions=counts.get(role, 1 if role == "baselines" else inputs),
            replication_factor=settings.topics.replication_factor,
            config=config.get(role, {}),
        )
        for role in missing
    ]
    if topics:
        for name, future in client.create_topics(topics, operation_timeout=CALL_S).items():
            _result(name, future)
        _await(settings, client, missing)
    return [topic.topic for topic in topics]


def create_plain(settings: Settings, names: list[str]) -> None:
    """Create those of these topics that are missing, with one partition each. They do not belong to the app."""
    client = admin(settings)
    wanted = [NewTopic(name, 1, settings.topics.replication_factor) for name in names]
    for name, future in client.create_topics(wanted, operation_timeout=CALL_S).items():
        _result(name, future)


def _result(name: str, future: Any) -> None:
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
            raise TopicsError(f"cannot create {name}: {error.args[0].str()}") from error


def _await(settings: Settings, client: AdminClient, roles: list[str]) -> None:
    """Wait until the leaders of new topics answer: a topic is in the metadata before its leaders serve it."""
    deadline = time.monotonic() + CALL_S
    while time.monotonic() < deadline:
        known = client.list_topics(timeout=CALL_S).topics
        wanted = [settings.topic(role) for role in roles]
        if all(topic in known for topic in wanted):
            ends = {TopicPartition(t, n): OffsetSpec.latest() for t in wanted for n in known[t].partitions}
            answers = client.list_offsets(ends, request_timeout=CALL_S).values()
            if all(future.exception() is None for future in answers):
                return
        time.sleep(0.05)
    raise TopicsError("created topics are not served by their leaders")


def grow(settings: Settings) -> list[str]:
    """Give the topics that belong to ids as many partitions as predictions has; returns the topics that grew."""
    client = admin(settings)
    counts = inspect(settings, client).partitions
    wanted = counts.get("predictions", 0)
    short = [role for role in (*ROLES_REKEYED, "pending") if 0 < counts.get(role, 0) < wanted]
    requests = [NewPartitions(settings.topic(role), wanted) for role in short]
    if requests:
        for name, future in client.create_partitions(requests, operation_timeout=CALL_S).items():
            try:
                future.result()
            except KafkaException as error:
                raise TopicsError(f"cannot grow {name}: {error.args[0].str()}") from error
        _await(settings, client, short)
    return [settings.topic(role) for role in short]


def ready(settings: Settings, accept_repartition: bool = False) -> Topology:
    """Usable topics, created where the settings allow it; TopicsError with all problems."""
    if settings.topics.create:
        create(settings)
    if accept_repartition:
        grow(settings)
    report = inspect(settings)
    missing = [settings.topic(role) for role in report.missing]
    problems = ([f"missing topics: {', '.join(missing)}"] if missing else []) + report.problems
    if problems:
        raise TopicsError("\n".join(problems))
    counts = report.partitions
    health = "health" in counts
    if not health:
        log.warning("%s is missing, so `status` shows no models: `topics create` makes it", settings.topic("health"))
    return Topology(
        counts["predictions"],
        counts["observations"],
        counts["profiles"],
        report.rekey,
        health=health,
        decisions="decisions" in counts,
        accept_repartition=accept_repartition,
    )
