"""A worker dies, or hears nothing, at each step of a commit (failure tests 1, 4 and 6)."""

from __future__ import annotations

import pytest

from tests.failures.fleet import Fleet, Traffic, settle
from tests.failures.worker import STEPS, Fault

pytestmark = pytest.mark.kafka
ROLES = ("describe", "judge")


@pytest.mark.parametrize("role", ROLES)
def test_killed_at_each_step_of_a_commit(fleet: Fleet, role: str) -> None:
    """Every second one comes back under its own name, which clears its transaction at once; the others do not."""
    traffic = Traffic(fleet.rules, 1)
    fleet.start(ROLES[1 - ROLES.index(role)])
    for at, step in enumerate(STEPS):
        worker = fleet.start(role, Fault(step, nth=2), worker_id=f"w{at // 2}")
        traffic.send(300)
        assert worker.ended() == -9, worker.said()
    settle(fleet, traffic)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("step", [pytest.param("before commit", marks=pytest.mark.long), "committed"])
def test_an_unknown_outcome_ends_the_worker_and_the_next_one_learns_the_truth(
    fleet: Fleet, role: str, step: str
) -> None:
    traffic = Traffic(fleet.rules, 2)
    fleet.start(ROLES[1 - ROLES.index(role)])
    worker = fleet.start(role, Fault(step, nth=2, action="unknown"))
    traffic.send(300)
    assert worker.ended() == 1
    assert "the outcome of a commit is unknown" in worker.said()
    settle(fleet, traffic)


@pytest.mark.parametrize("role", ROLES)
def test_an_aborted_commit_is_made_again(fleet: Fleet, role: str) -> None:
    traffic = Traffic(fleet.rules, 3)
    fleet.start(ROLES[1 - ROLES.index(role)])
    worker = fleet.start(role, Fault("offsets sent", nth=2, action="abort"))
    traffic.send(300)
    settle(fleet, traffic)
    assert worker.running()
    assert "transaction aborted" in worker.said()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("method", ["assign", "restore_offset"])
def test_a_failure_within_a_callback_is_a_loud_stop(fleet: Fleet, role: str, method: str) -> None:
    """An exception out of a callback would drop what the client had dequeued."""
    traffic = Traffic(fleet.rules, 4)
    fleet.start(ROLES[1 - ROLES.index(role)])
    traffic.send(300)
    worker = fleet.start(role, Fault(broken=method))
    assert worker.ended() == 1
    assert "the fault of this test" in worker.said()
    settle(fleet, traffic)
