"""A topic that was deleted and made anew is told from the one that the offsets are of (in-process broker)."""

from __future__ import annotations

import json

import pytest

from stream_monitor.errors import RestoreError
from stream_monitor.judge.stage import Judge
from stream_monitor.profiles.bin_catalog import BinCatalog, ProgressRecord, notice_output
from tests.schedules import Cluster, die
from tests.streams import T0, shop
from tests.upgrade.sample import feed, load, restore, rules

STANDS_ON = {
    "describe": ["predictions", "labels", "feedback", "observations", "pending", "profiles"],
    "judge": ["profiles", "state"],
}


def running() -> Cluster:
    cluster = Cluster(rules(), 2, 1, 0.0)
    for stage in STANDS_ON:
        cluster.start(stage)
    feed(cluster, shop(1, 300))
    for stage in STANDS_ON:
        cluster.loops[stage][0].commit()
    return cluster


def restarted(cluster: Cluster, stage: str, accept: bool = False) -> Cluster:
    """The worker of a stage dies, and another one comes."""
    die(cluster.loops[stage].pop())
    topology, cluster.topology = cluster.topology, cluster.topology.__class__(2, 2, 2, accept_new_topics=accept)
    cluster.start(stage)
    cluster.topology = topology
    return cluster


def judge_of(cluster: Cluster) -> Judge:
    stage = cluster.loops["judge"][0].stage
    assert isinstance(stage, Judge)
    return stage


CASES = [(stage, role) for stage, roles in STANDS_ON.items() for role in roles]


@pytest.mark.parametrize(("stage", "role"), CASES)
def test_a_worker_that_comes_back_stops_and_says_how_to_go_on(stage: str, role: str) -> None:
    cluster = running()
    cluster.broker.make_anew(role)
    restarted(cluster, stage)
    failure = cluster.loops[stage][0].failure
    assert isinstance(failure, RestoreError)
    assert f".{role} was deleted and made anew" in str(failure) and "--accept-new-topics" in str(failure)


@pytest.mark.parametrize(("stage", "role"), CASES)
def test_a_worker_that_runs_commits_nothing_of_the_new_topic(stage: str, role: str) -> None:
    cluster = running()
    before = dict(cluster.broker.group(stage).offsets)
    cluster.broker.make_anew(role)
    for event in shop(2, 300):
        cluster.broker.append(event.role, event.raw, event.id.encode(), 0)
    loop = cluster.loops[stage][0]
    with pytest.raises(RestoreError, match=r"made anew"):
        loop.commit()
    assert cluster.broker.group(stage).offsets == before


@pytest.mark.parametrize(("stage", "role"), CASES)
def test_who_accepts_reads_the_new_topic_from_its_beginning_and_stops_no_more(stage: str, role: str) -> None:
    cluster = running()
    cluster.broker.make_anew(role)
    restarted(cluster, stage, accept=True)
    loop = cluster.loops[stage][0]
    assert loop.failure is None
    loop.commit()
    offsets = cluster.broker.group(stage).offsets
    assert {offsets[part].offset for part in loop.owned if part[0] == role} <= {0, 1}
    restarted(cluster, stage)
    assert cluster.loops[stage][0].failure is None
    if role == "predictions":
        for event in shop(2, 200):
            cluster.broker.append(event.role, event.raw, event.id.encode(), 0)
        cluster.loops[stage][0].tick(0)
        cluster.loops[stage][0].commit()
        assert cluster.broker.group(stage).offsets["predictions", 0].offset > 200


def test_a_topic_of_baselines_that_was_made_anew_is_filled_again() -> None:
    cluster = running()
    before = dict(cluster.broker.values("baselines"))
    assert len(before) > 10
    cluster.broker.make_anew("baselines")
    restarted(cluster, "judge")
    loop = cluster.loops["judge"][0]
    assert loop.failure is None
    for _ in range(3):
        loop.tick(0)
        loop.commit()
    again = dict(cluster.broker.values("baselines"))
    kept = {key: value for key, value in before.items() if b"progress" not in (key or b"")}
    assert again.keys() >= kept.keys() and {key: again[key] for key in kept} == kept


def test_offsets_of_a_former_version_are_accepted_once_and_get_the_ids() -> None:
    cluster = Cluster(rules(), 2, 1, 0.0)
    restore(cluster, load("f8eec05.bin"))
    for stage in STANDS_ON:
        cluster.start(stage)
        cluster.loops[stage][0].commit()
        for position in cluster.broker.group(stage).offsets.values():
            ids = json.loads(position.metadata)["ids"].values()
            assert {topic_id.rpartition("-")[0] for topic_id in ids} == {*STANDS_ON[stage], "baselines"}
    cluster.broker.make_anew("labels")
    restarted(cluster, "describe")
    assert isinstance(cluster.loops["describe"][0].failure, RestoreError)


def test_a_topic_that_gets_more_partitions_while_a_worker_runs_is_a_stop_that_names_the_way_on() -> None:
    cluster = running()
    cluster.broker.partitions["predictions"] = 3
    with pytest.raises(RestoreError, match="--accept-repartition"):
        cluster.loops["describe"][0].commit()


def test_a_snapshot_whose_records_were_deleted_is_a_stop() -> None:
    cluster = running()
    judge_of(cluster).snapshot(0)
    cluster.loops["judge"][0].commit()
    for number in range(2):
        cluster.broker.logs["state", number].clear()
    restarted(cluster, "judge")
    assert "holds no snapshot" in str(cluster.loops["judge"][0].failure)


def test_offsets_that_others_have_committed_are_never_moved_back() -> None:
    """A former version's offsets get the ids at the next commit, but for partitions that went to another worker."""
    cluster = Cluster(rules(), 2, 1, 0.0)
    restore(cluster, load("f8eec05.bin"))
    cluster.start("describe")
    first = cluster.loops["describe"][0]
    group = cluster.broker.group("describe")
    taken = sorted(part for part in first.owned if part[1] == 1 and part in group.offsets)
    first.lost(taken)
    for part in taken:  # the other worker went on
        group.offsets[part] = group.offsets[part]._replace(offset=group.offsets[part].offset + 300)
    ahead = {part: group.offsets[part].offset for part in taken}
    first.commit()
    assert {part: group.offsets[part].offset for part in taken} == ahead


def test_who_accepts_goes_on_where_old_records_of_the_change_log_have_expired() -> None:
    cluster = running()
    cluster.broker.make_anew("predictions")
    group = cluster.broker.group("describe")
    for number in range(2):  # the broker deletes the offsets of a topic with it
        group.offsets.pop(("predictions", number))
        cluster.broker.expired["pending", number] = 1
    restarted(cluster, "describe")
    assert isinstance(cluster.loops["describe"][0].failure, RestoreError)
    restarted(cluster, "describe", accept=True)
    assert cluster.loops["describe"][0].failure is None


@pytest.mark.parametrize("stage", ["describe", "judge"])
def test_consent_excuses_no_offset_that_has_merely_expired(stage: str) -> None:
    cluster = running()
    for number in range(2):
        judge_of(cluster).snapshot(number)
    cluster.loops["judge"][0].commit()
    cluster.broker.group(stage).offsets.clear()
    restarted(cluster, stage, accept=True)
    assert "offset is gone" in str(cluster.loops[stage][0].failure)


def test_a_judge_whose_offsets_went_with_the_topic_knows_by_its_snapshots_that_it_is_another() -> None:
    cluster = running()
    for number in range(2):
        judge_of(cluster).snapshot(number)
    cluster.loops["judge"][0].commit()
    models = len(judge_of(cluster).assignments[0].judge.models)
    cluster.broker.make_anew("profiles")
    cluster.broker.group("judge").offsets.clear()
    restarted(cluster, "judge")
    assert "offset is gone" in str(cluster.loops["judge"][0].failure)
    restarted(cluster, "judge", accept=True)
    loop = cluster.loops["judge"][0]
    assert loop.failure is None and len(judge_of(cluster).assignments[0].judge.models) == models > 0
    loop.commit()
    restarted(cluster, "judge")
    assert cluster.loops["judge"][0].failure is None


def test_another_topic_for_a_role_is_no_topic_made_anew() -> None:
    """As where a rekey stage comes to stand before describe."""
    cluster = running()
    names = {"labels": "other.labels"}
    topics = cluster.rules.topics.model_copy(update={"names": names})
    cluster.rules = cluster.rules.model_copy(update={"topics": topics})
    cluster.broker.make_anew("labels")
    restarted(cluster, "describe")
    assert cluster.loops["describe"][0].failure is None


def test_a_snapshot_is_missed_although_a_foreign_record_lies_on_its_topic() -> None:
    cluster = running()
    judge_of(cluster).snapshot(0)
    cluster.loops["judge"][0].commit()
    cluster.broker.logs["state", 0].clear()
    cluster.broker.append("state", b"stray", b"key", 0)
    restarted(cluster, "judge")
    assert "holds no snapshot" in str(cluster.loops["judge"][0].failure)


def test_a_judge_that_comes_back_tells_whether_workers_must_wait() -> None:
    """What it told last lies on a compacted topic, and it may hold less by now."""
    cluster, catalog = running(), BinCatalog()
    for number in range(2):
        told = ProgressRecord(T0, number, wait=True)
        cluster.broker.append("baselines", notice_output(told)[1], told.key(), 0)
    restarted(cluster, "judge")
    for _ in range(3):
        cluster.loops["judge"][0].tick(0)
        cluster.loops["judge"][0].commit()
    for _, value in cluster.broker.values("baselines"):
        catalog.apply(value)
    assert not catalog.wait
