"""Logs of a `profiles` partition, made by a replay, for tests that judge them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stream_monitor.baselines.pinned import PinnedBaseline
from stream_monitor.config.settings import Settings
from stream_monitor.events.rollouts import RolloutDecision
from stream_monitor.file_replay import Replay
from stream_monitor.judge.consumers.registry import CONSUMERS
from stream_monitor.judge.model import ModelJudge
from stream_monitor.judge.model_state import ModelState
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.profiles.records import Record, read_record
from stream_monitor.stages.contract import Output
from stream_monitor.wire.msgpack_arrays import as_kind, pack, unpack

BATCH = 200


class Recorded(Replay):
    """A replay that keeps what its judge hears, and what it publishes."""

    def __init__(self, settings: Settings, pinned: Sequence[PinnedBaseline] = ()) -> None:
        self.log: list[tuple[Record, int]] = []
        self.raw_log: list[bytes] = []
        self.alerts: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []
        self.decisions: list[RolloutDecision] = []
        self.notices: list[bytes] = []
        super().__init__(settings, self._keep, pinned)

    def _keep(self, output: Output) -> None:
        if output.role == "baselines":
            self.notices.append(output.value)
        elif output.role == "decisions":
            self.decisions.append(msgspec.json.decode(output.value, type=RolloutDecision))
        elif output.role in ("alerts", "metrics"):
            getattr(self, output.role).append(json.loads(output.value))

    def _judge(self, value: bytes) -> None:
        self.log.append((read_record(value), self.driver.started))
        self.raw_log.append(value)
        super()._judge(value)

    def knowledge_of_edges(self) -> BinCatalog:
        catalog = BinCatalog()
        for notice in self.notices:
            catalog.apply(notice)
        return catalog


def packed(judge: ModelJudge) -> bytes:
    """All that a judge remembers of a model, as bytes."""
    written = pack(judge.saved_state())
    judge.saved()
    return written


def restored(written: bytes) -> ModelState:
    """The inverse of `packed`, with the states of the consumers as their judge makes them."""
    state = unpack(written, ModelState, own=True)
    for consumer in CONSUMERS:
        if consumer.name in state.consumers:
            state.consumers[consumer.name] = as_kind(state.consumers[consumer.name], consumer.State)
    return state


def comparable(state: Any) -> Any:
    """What a state holds, for `==`: the order of a dictionary counts, that of a set does not.

    `pack` writes a set in the order of its hash table, which depends on how the set came to be and on the seed of the
    process's hashes. Two equal states can therefore have different bytes.
    """
    match state:
        case msgspec.Struct():
            return type(state), [comparable(getattr(state, name)) for name in state.__struct_fields__]
        case dict():
            return [(key, comparable(value)) for key, value in state.items()]
        case set() | frozenset():
            return frozenset(state)
        case list() | tuple():
            return [comparable(value) for value in state]
        case _:
            return pack(state)


def recorded(
    settings: Settings, events: Iterable[tuple[str, bytes]], pinned: Sequence[PinnedBaseline] = (), batch: int = BATCH
) -> Recorded:
    run, todo = Recorded(settings, pinned), list(events)
    for at in range(0, len(todo), batch):
        run.feed(todo[at : at + batch])
    run.finish()
    return run
