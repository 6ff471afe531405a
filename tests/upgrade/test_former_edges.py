"""Edges that a former version made are used as they were published, though this version would make others."""

from __future__ import annotations

import numpy as np
import pytest

from stream_monitor.config.recorded import adopted
from stream_monitor.judge.stage import Judge
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.bins import make_edges
from stream_monitor.profiles.records import Record, SettingsRecord, read_record
from stream_monitor.rejudge.log_replay import LogReplay, RejudgeTerms, judge_again
from tests.upgrade.sample import PARTITIONS, Sample, feed, load, resume, rules, stream
from tests.upgrade.test_sample import SAMPLES


def catalog_of(sample: Sample) -> BinCatalog:
    catalog = BinCatalog()
    for role, _, records in sample.logs:
        for value, _, _ in records if role == "baselines" else ():
            if value is not None:
                catalog.apply(value)
    return catalog


def profiles_of(sample: Sample, number: int) -> list[tuple[Record, int]]:
    [records] = [records for role, at, records in sample.logs if (role, at) == ("profiles", number)]
    return [(read_record(value), arrived) for value, arrived, _ in records if value is not None]


def judged(sample: Sample, number: int, obey_log: bool) -> LogReplay:
    log = profiles_of(sample, number)
    recorded = next(record.text for record, _ in log if isinstance(record, SettingsRecord))
    terms = RejudgeTerms(adopted(rules(), recorded), obey_log=obey_log, catalog=catalog_of(sample))
    replay = judge_again(terms, number)
    list(replay.process(log))
    return replay


@pytest.mark.parametrize("obey_log", [True, False])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_log_judged_again_counts_on_the_edges_that_were_published(name: str, obey_log: bool) -> None:
    sample, seen = load(name), 0
    catalog = catalog_of(sample)
    for number in range(PARTITIONS):
        for model, judge in judged(sample, number, obey_log).judge.models.items():
            for timeline in judge.timelines.values():
                published = catalog.of(model, timeline.state.name).edges
                for measure, edges in timeline.state.edges.items():
                    seen += measure == "n"
                    known = catalog.former(model, timeline.state.name).get(measure, {})
                    versions = {published[measure].version, *known}
                    assert edges.version in versions, measure
    assert seen


@pytest.mark.parametrize("name", SAMPLES)
def test_a_judge_that_made_other_edges_than_were_published_tells_its_own_and_counts_on_them(name: str) -> None:
    """The snapshot is from before the edges: a former version made them from the records that are read again."""
    sample, events, own = load(name), stream(), make_edges(np.repeat(np.arange(5.0), 20))
    cluster = resume(sample)
    feed(cluster, events[sample.sent : sample.sent + 40])
    [judge] = [loop.stage for loop in cluster.loops["judge"] if isinstance(loop.stage, Judge)]
    for assignment in judge.assignments.values():
        for model in assignment.judge.models.values():
            timeline = model.timelines["input"]
            assert timeline.state.edges["n"].version != own.version
            timeline.state.edges["n"] = own
            timeline.edges._checked.clear()
    told = len(cluster.broker.values("baselines"))
    feed(cluster, events[sample.sent + 40 :])
    cluster.drain()
    catalog = BinCatalog()
    for _, value in cluster.broker.values("baselines")[told:]:
        catalog.apply(value)
    assert [catalog.of(model, "input").edges["n"].version for model in ("m0", "m1")] == [own.version] * 2
