"""What former versions left on Kafka is read, and the workers of this version go on from it."""

from __future__ import annotations

import pytest

from tests.schedules import by_replay, result_of
from tests.upgrade.sample import FOLDER, RESET, feed, load, restore, resume, rules, stream, taken

SAMPLES = sorted(path.name for path in FOLDER.glob("*.bin"))


def test_there_are_samples() -> None:
    assert SAMPLES


@pytest.mark.parametrize("name", SAMPLES)
def test_workers_go_on_from_what_a_former_version_left(name: str) -> None:
    """Change logs, snapshots, profiles, edges and offsets: the result is that of one run of this version."""
    sample, events = load(name), stream()
    assert all(any(r == role and records for r, _, records in sample.logs) for role in ("pending", "state", "alerts"))
    cluster = resume(sample)
    feed(cluster, events[sample.sent :])
    cluster.drain()
    metrics, alerts = ([value for _, value in cluster.broker.values(role)] for role in ("metrics", "alerts"))
    assert result_of(metrics, alerts) == by_replay(events, rules(), resets=[RESET])
    assert len(alerts) > sum(len(records) for role, _, records in sample.logs if role == "alerts")


def test_a_sample_holds_what_it_was_taken_of() -> None:
    sample = load(SAMPLES[0])
    cluster = resume()
    cluster.loops = {"describe": [], "judge": []}
    restore(cluster, sample)
    again = taken(cluster, sample.sent)
    assert again.logs == sample.logs and again.offsets == sample.offsets
