"""The table of stages."""

from __future__ import annotations

from stream_monitor.cli.main import Role
from stream_monitor.kafka.in_memory import MemoryBroker, MemoryClient
from stream_monitor.service.registry import STAGES, loop_of, port_offset, stages_of
from stream_monitor.stages.topology import Topology
from tests.streams import quick_settings


def test_the_command_line_names_every_stage() -> None:
    assert {role.value for role in Role} == {*STAGES, "all"}


def test_workers_of_one_command_have_ports_of_their_own_and_keep_them() -> None:
    for rekey in (False, True):
        ports = [port_offset(stage, worker, rekey) for worker in range(5) for stage in stages_of(rekey)]
        assert sorted(ports) == list(range(len(ports)))
    assert [port_offset(stage, 0, False) for stage in ("describe", "judge")] == [0, 1]


def test_every_stage_is_made_with_its_inputs() -> None:
    for name, spec in STAGES.items():
        broker = MemoryBroker(dict.fromkeys((*spec.inputs, "pending", "state", "profiles", "baselines"), 1), lambda: 0)
        loop = loop_of(name, MemoryClient(broker, name), quick_settings(), Topology(1, 1, 1, rekey=True), lambda: 0.0)
        assert loop.roles == list(spec.inputs)
