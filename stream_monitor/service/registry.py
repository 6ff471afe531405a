"""The stages: this table declares each stage once. All code that runs, checks or shows stages uses the table.

A new stage is a line in `STAGES` and a function that creates it. The stage itself declares its change log and the
topics on which its offsets depend (`stages.contract.Stage`). Topics of its own are roles in `config.settings`, and
`kafka.topics` has their configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stream_monitor.config.settings import ROLES_IN, Settings
from stream_monitor.kafka.interface import Client
from stream_monitor.kafka.loop import Loop
from stream_monitor.stages.contract import Stage
from stream_monitor.stages.topology import Topology

Tables = Mapping[str, Callable[[bytes], None]]
"""By role, the function that processes the records of a compacted topic that a worker reads whole and follows."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """The facts that an app must know of a stage."""

    name: str
    """The name of its group, of `run --role`, and of the label `role` of its metrics."""
    inputs: tuple[str, ...]
    """Roles of the topics that it consumes."""
    make: Callable[[Settings, Topology], tuple[Stage, Tables]] = field(repr=False)
    """The stage, and the tables that it follows."""
    compiles: bool = False
    """A worker compiles its machine code before it joins the group."""
    only_with_rekey: bool = False
    """An app runs it only where labels or feedback must be rekeyed."""


def _describe(settings: Settings, topology: Topology) -> tuple[Stage, Tables]:
    from stream_monitor.describe.stage import Describe
    from stream_monitor.profiles.bin_catalog import BinCatalog

    catalog = BinCatalog()
    return Describe(settings, topology, catalog), {"baselines": catalog.apply}


def _judge(settings: Settings, topology: Topology) -> tuple[Stage, Tables]:
    from stream_monitor.judge.stage import Judge

    return Judge(settings, topology.profiles, topology.health, topology.decisions), {}


def _rekey(settings: Settings, topology: Topology) -> tuple[Stage, Tables]:
    from stream_monitor.describe.rekey import Rekey

    return Rekey(settings), {}


STAGES = {
    spec.name: spec
    for spec in (
        StageSpec("describe", ROLES_IN, _describe, compiles=True),
        StageSpec("judge", ("profiles",), _judge),
        StageSpec("rekey", ("labels", "feedback"), _rekey, only_with_rekey=True),
    )
}
"""By name. A new stage goes to the end: the HTTP ports of the others stay, except that of `rekey`."""


def stages_of(rekey: bool) -> tuple[str, ...]:
    """The stages of an app, in the order in which records pass them; with `rekey`, that stage comes first."""
    first = [spec.name for spec in STAGES.values() if spec.only_with_rekey and rekey]
    return (*first, *(spec.name for spec in STAGES.values() if not spec.only_with_rekey))


def ports_of(workers: Sequence[tuple[str, int]], rekey: bool) -> list[int]:
    """The distance of the port of each worker, by role and number, from `http.port`.

    Each worker of one command serves its own port. Where the command runs one role, its first worker has `http.port`.
    """
    if len({role for role, _ in workers}) == 1:
        return [number for _, number in workers]
    ports = sorted(STAGES, key=lambda name: STAGES[name].only_with_rekey)
    return [len(stages_of(rekey)) * number + ports.index(role) for role, number in workers]


def loop_of(name: str, client: Client, settings: Settings, topology: Topology, clock: Callable[[], float]) -> Loop:
    """The loop of a stage on a client."""
    spec = STAGES[name]
    stage, tables = spec.make(settings, topology)
    return Loop(client, stage, spec.inputs, settings, clock, topology.consent, tables)
