"""What is wrong with topics is told with what there is and the command that mends it."""

from __future__ import annotations

import uuid

import pytest
from confluent_kafka.admin import NewTopic

from stream_monitor.config.settings import Settings, parse
from stream_monitor.kafka.client_config import CALL_S, admin
from stream_monitor.kafka.topics import create, inspect

pytestmark = pytest.mark.kafka


def settings_for(kafka: str) -> Settings:
    return parse({"app": f"t{uuid.uuid4().hex[:10]}", "kafka": {"bootstrap_servers": kafka}})


def make(settings: Settings, role: str, partitions: int, **config: str) -> None:
    topic = NewTopic(settings.topic(role), partitions, 1, config=config)
    client = admin(settings)  # named: its death would cancel the request
    client.create_topics([topic])[topic.topic].result(CALL_S)


def test_a_wrong_configuration_comes_with_the_command_that_mends_it(kafka: str) -> None:
    settings = settings_for(kafka)
    make(settings, "profiles", 2)
    make(settings, "state", 2)
    problems = inspect(settings).problems
    assert problems == [
        f"{settings.app}.profiles: message.timestamp.type is CreateTime, must be LogAppendTime: kafka-configs.sh "
        f"--bootstrap-server {kafka} --alter --entity-type topics --entity-name {settings.app}.profiles "
        "--add-config message.timestamp.type=LogAppendTime",
        f"{settings.app}.state: cleanup.policy is delete, must be compact: kafka-configs.sh "
        f"--bootstrap-server {kafka} --alter --entity-type topics --entity-name {settings.app}.state "
        "--add-config cleanup.policy=compact",
    ]


def test_other_numbers_of_partitions_are_told_with_the_command_that_mends_them(kafka: str) -> None:
    settings = settings_for(kafka)
    make(settings, "profiles", 3, **{"message.timestamp.type": "LogAppendTime"})
    make(settings, "state", 2, **{"cleanup.policy": "compact"})
    name = settings.app
    assert inspect(settings).problems == [
        f"{name}.state has 2 and {name}.profiles has 3 partitions, but they must have the same number: "
        f"kafka-topics.sh --bootstrap-server {kafka} --alter --topic {name}.state --partitions 3"
    ]


def test_one_of_the_two_that_is_missing_can_be_made(kafka: str) -> None:
    settings = settings_for(kafka)
    make(settings, "profiles", 3, **{"message.timestamp.type": "LogAppendTime"})
    assert inspect(settings).problems == [
        f"{settings.app}.state has none and {settings.app}.profiles has 3, but they must have the same number of "
        "partitions: `stream-monitor topics create` makes it"
    ]
    create(settings)
    assert inspect(settings).problems == []


def test_input_topics_that_we_make_have_the_brokers_time_and_others_are_advised_to(kafka: str) -> None:
    settings = settings_for(kafka)
    make(settings, "predictions", 2)
    create(settings)
    report = inspect(settings)
    assert report.problems == []
    (advice,) = report.advice
    assert advice.startswith(f"{settings.app}.predictions: message.timestamp.type is CreateTime")
    assert f"--entity-name {settings.app}.predictions --add-config message.timestamp.type=LogAppendTime" in advice
