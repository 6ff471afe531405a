"""The table of stages."""

from __future__ import annotations

from stream_monitor.cli.main import Role
from stream_monitor.kafka.in_memory import MemoryBroker, MemoryClient
from stream_monitor.service.registry import STAGES, loop_of, ports_of, stages_of
from stream_monitor.stages.topology import Topology
from tests.streams import quick_settings


def test_the_command_line_names_every_stage() -> None:
    assert {role.value for role in Role} == {*STAGES, "all"}


def test_workers_of_one_command_have_ports_of_their_own_and_keep_them() -> None:
    for rekey in (False, True):
        ports = ports_of([(stage, worker) for worker in range(5) for stage in stages_of(rekey)], rekey)
        assert sorted(ports) == list(range(len(ports)))
    assert ports_of([("describe", 0), ("judge", 0)], False) == [0, 1]


def test_the_port_of_one_role_is_that_of_the_settings() -> None:
    assert ports_of([("judge", 0)], False) == [0]
    assert ports_of([("judge", 0), ("judge", 1)], False) == [0, 1]


def test_every_stage_is_made_with_its_inputs() -> None:
    for name, spec in STAGES.items():
        broker = MemoryBroker(dict.fromkeys((*spec.inputs, "pending", "state", "profiles", "baselines"), 1), lambda: 0)
        loop = loop_of(name, MemoryClient(broker, name), quick_settings(), Topology(1, 1, 1, rekey=True), lambda: 0.0)
        assert loop.roles == list(spec.inputs)
