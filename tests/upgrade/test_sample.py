"""What former versions left on Kafka is read, and the workers of this version go on from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.schedules import by_replay, result_of
from tests.upgrade.sample import FOLDER, RESET, Sample, feed, load, restore, resume, rules, stream, taken

SAMPLES = sorted(path.name for path in FOLDER.glob("*.bin"))


def published(sample: Sample, role: str) -> list[bytes]:
    """The values of an output topic."""
    return [value for name, _, records in sample.logs if name == role for value, _, _ in records if value is not None]


ATOMS = {"n"}
"""Measures of atoms. A former version made other edges of them, so their distances and quantiles are others."""
BY_EDGES = {"p05", "p25", "p50", "p75", "p95", "p99", "p999", "coarse", "shape", "courses"}
"""Figures that depend on the edges: a former version gave an atom no bin of its own, and no measure a tail."""


NEW = {"bias", "relative_error"}
"""Measures that former versions did not know: of outcomes that they counted there are no sums."""


def without_figures(record: dict[Any, Any]) -> dict[Any, Any]:
    """A record without what depends on the edges."""
    measures = {
        name: {
            key: value
            for key, value in figures.items()
            if key not in BY_EDGES and (name not in ATOMS or key in ("n", "mean", "missing"))
        }
        for name, figures in record.get("measures", {}).items()
        if name not in NEW
    }
    findings = [finding | {"evidence": {}} for finding in record.get("findings", ())]
    return record | {"measures": measures, "findings": findings, "reason": ""}


def of_both(records: dict[Any, Any]) -> dict[Any, Any]:
    """What former versions published, too."""
    return {key: record for key, record in records.items() if record.get("kind") not in ("label", "feedback")}


def test_there_are_samples() -> None:
    assert SAMPLES


@pytest.mark.parametrize("name", SAMPLES)
def test_workers_go_on_from_what_a_former_version_left(name: str) -> None:
    """Change logs, snapshots, profiles, edges and offsets: what comes is that of one run of this version.

    What the former version had published stays as it was said; keys and counts are those of one run, too. What an
    outcome says differs: the former versions did not keep what was known of errors before the change. They did not
    publish the windows of labels and feedback.
    """
    sample, events = load(name), stream()
    assert all(any(r == role and records for r, _, records in sample.logs) for role in ("pending", "state", "alerts"))
    cluster = resume(sample)
    feed(cluster, events[sample.sent :])
    cluster.drain()
    metrics, alerts = ([value for _, value in cluster.broker.values(role)] for role in ("metrics", "alerts"))
    former = result_of(*(published(sample, role) for role in ("metrics", "alerts")))
    results: list[Sequence[dict[Any, Any]]]
    results = [result_of(metrics, alerts), former, by_replay(events, rules(), resets=[RESET])]
    for found, before, expected in (map(of_both, one) for one in zip(*results, strict=True)):
        assert found.keys() == expected.keys()
        new = {key for key, record in found.items() if before.get(key) != record and record.get("status") != "outcome"}
        told, wanted = ({key: without_figures(records[key]) for key in new} for records in (found, expected))
        assert len(new) > 5 and told == wanted
        for key, record in found.items():
            assert record.get("count") == expected[key].get("count")
    assert len(alerts) > sum(len(records) for role, _, records in sample.logs if role == "alerts")


def test_a_sample_holds_what_it_was_taken_of() -> None:
    sample = load(SAMPLES[0])
    cluster = resume()
    cluster.loops = {"describe": [], "judge": []}
    restore(cluster, sample)
    again = taken(cluster, sample.sent)
    roles = {role for role, _, _ in sample.logs}  # there are more topics by now
    assert [log for log in again.logs if log[0] in roles] == sample.logs and again.offsets == sample.offsets
