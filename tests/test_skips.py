"""Records on our own topics that are not ours: named, and skipped where a person says so (in-process broker)."""

from __future__ import annotations

import logging

import pytest

from stream_monitor.errors import FormatError, SettingsError
from stream_monitor.kafka.skips import MOST, parse_skips, recorded, skips_of
from stream_monitor.stages.contract import Position, Skip
from tests.schedules import Cluster, by_replay, die, result_of
from tests.streams import shop
from tests.upgrade.sample import feed, rules


def start(cluster: Cluster, stage: str, *skips: Skip) -> None:
    """The worker of a stage dies if it runs, and another one comes."""
    for loop in cluster.loops[stage]:
        die(loop)
    cluster.loops[stage].clear()
    topology, cluster.topology = cluster.topology, cluster.topology.__class__(2, 2, 2, skips=skips)
    cluster.start(stage)
    cluster.topology = topology


def foreign(cluster: Cluster, role: str, number: int) -> Skip:
    """A stranger writes to one of our topics."""
    cluster.broker.append(role, b"\x93 not ours", b"key", number)
    return Skip(role, number, len(cluster.broker.logs[role, number]) - 1)


@pytest.mark.parametrize("number", [0, 1])
def test_a_foreign_record_on_profiles_is_named_skipped_and_the_result_is_whole(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    cluster, events = Cluster(rules(), 2, 1, 0.0), shop(1, 400)
    for stage in ("describe", "judge"):
        start(cluster, stage)
    feed(cluster, events[:200])
    place = foreign(cluster, "profiles", number)
    loop = cluster.loops["judge"][0]
    with pytest.raises(FormatError, match=rf"--skip-record stream-monitor\.profiles/{number}/{place.offset}"):
        for _ in range(3):
            loop.tick(0)
    start(cluster, "judge", place)
    feed(cluster, events[200:])
    cluster.loops["judge"][0].commit()
    assert any("skipped" in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    start(cluster, "judge")  # it is recorded: no need to say it again, wherever the next snapshot lets reading begin
    cluster.drain()
    assert cluster.loops["judge"][0].failure is None
    values = ([value for _, value in cluster.broker.values(role)] for role in ("metrics", "alerts"))
    assert result_of(*values) == by_replay(events, rules())


def test_a_foreign_record_on_pending_is_named_and_skipped() -> None:
    cluster = Cluster(rules(), 2, 1, 0.0)
    start(cluster, "describe")
    for event in shop(1, 100):
        cluster.broker.append(event.role, event.raw, event.id.encode(), 0)
    cluster.loops["describe"][0].tick(0)
    cluster.loops["describe"][0].commit()
    place = foreign(cluster, "pending", 0)
    start(cluster, "describe")
    failure = cluster.loops["describe"][0].failure
    assert isinstance(failure, FormatError) and f"offset {place.offset}" in str(failure)
    assert "--skip-record stream-monitor.pending/0" in str(failure)
    start(cluster, "describe", place)
    assert cluster.loops["describe"][0].failure is None


def test_foreign_records_on_state_and_baselines_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    cluster, events = Cluster(rules(), 2, 1, 0.0), shop(1, 400)
    for stage in ("describe", "judge"):
        start(cluster, stage)
    feed(cluster, events[:300])
    for role in ("state", "baselines"):
        foreign(cluster, role, 0)
    for stage in ("describe", "judge"):
        start(cluster, stage)
    feed(cluster, events[300:])
    cluster.drain()
    values = ([value for _, value in cluster.broker.values(role)] for role in ("metrics", "alerts"))
    assert result_of(*values) == by_replay(events, rules())
    told = " ".join(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "state topic holds a record that is not ours" in told
    assert "stream-monitor.baselines/0 offset" in told


NOT_A_PLACE = ["", "profiles/0/1", "stream-monitor.profiles/0", "stream-monitor.profiles/0/x"]
NOT_A_PLACE += ["stream-monitor.predictions/0/1", "stream-monitor.profiles/-1/2", "stream-monitor.profiles/٣/1"]
NOT_A_PLACE += [f"stream-monitor.profiles/{'9' * 5_000}/1"]


@pytest.mark.parametrize("text", NOT_A_PLACE)
def test_what_cannot_be_skipped_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="TOPIC/PARTITION/OFFSET"):
        parse_skips(rules(), [text])


def test_skips_are_recorded_beside_what_the_stage_committed_and_have_a_bound() -> None:
    skips = parse_skips(rules(), ["stream-monitor.profiles/0/7", "stream-monitor.state/1/0"])
    position = recorded(Position(9, '{"low":3}'), skips)
    assert position.offset == 9 and '"low":3' in position.metadata and skips_of(position.metadata) == skips
    with pytest.raises(SettingsError, match="at most"):
        parse_skips(rules(), [f"stream-monitor.profiles/0/{at}" for at in range(MOST + 1)])
    assert skips_of("") == set()
