"""Snapshots of a judge on the compacted `state` topic. Each piece is written only when it has changed.

A snapshot consists of a head (the partition's own state and the list of the other pieces), the state of each model, and
the deltas of open panes. A delta never changes, so it is written once; its key is deleted when its last pane has
closed. A model without new events is not written again. One transaction holds all records of a snapshot and the offset
that names it, so the last record of each key belongs to that offset.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from stream_monitor.errors import FormatError, RestoreError
from stream_monitor.judge.model_state import ModelState
from stream_monitor.judge.panes.open_panes import OpenPanes, cut, deltas_of
from stream_monitor.judge.panes.pane import PanePart
from stream_monitor.judge.partition import PartitionJudge
from stream_monitor.judge.partition_state import PartitionState, PendingModel
from stream_monitor.profiles.delta import Delta
from stream_monitor.profiles.pairs import PairDelta
from stream_monitor.profiles.records import MAX_RECORD_BYTES, PerformanceDelta
from stream_monitor.wire.msgpack_arrays import pack, unpack

log = logging.getLogger(__name__)

SNAPSHOT_FORMAT = 3
"""3: each consumer of closed windows has its state under its own name. In 2 it lies in fields of the model's state."""
OLDEST_FORMAT = 1
"""The oldest format that is read. In it each open pane holds whole deltas, and every snapshot holds all models."""


class SnapshotPart(msgspec.Struct, omit_defaults=True):
    """A record of the `state` topic.

    It is a piece of a model's state, of the partition's own state (name ""), or of a delta.
    """

    name: str
    offset: int
    """The offset in `profiles` of the snapshot that wrote this record."""
    part: int
    parts: int
    payload: bytes
    v: int = OLDEST_FORMAT
    delta: int | None = None
    """The number of the delta; None for a piece of a state."""

    def key(self) -> bytes:
        """The key of the record on the topic."""
        return _key(self.name if self.delta is None else self.delta, self.part)


def _key(owner: str | int, part: int) -> bytes:
    """The key of a part. Models and deltas use different separators, so that no model name collides with a number."""
    return f"{owner}\x1f{part}".encode() if isinstance(owner, str) else f"{owner}\x1e{part}".encode()


class Written(NamedTuple):
    """The last write of a model's state or of a delta: the offset of its snapshot, and the number of its parts."""

    offset: int
    parts: int


class OpenPart(msgspec.Struct, array_like=True):
    """A `pane.PanePart` as it is written, with the number of its delta."""

    delta: int
    first: int
    last: int
    rows: tuple[int, int, int, int] | None


class WaitingModel(msgspec.Struct):
    """A `partition_state.PendingModel` as it is written, with the numbers of its deltas."""

    deltas: list[int]
    performance: list[PerformanceDelta]
    pairs: list[PairDelta] = []


class SnapshotHead(msgspec.Struct):
    """The partition's own state, and the list of the models and deltas of the same snapshot."""

    state: PartitionState
    models: list[str]
    written: dict[str, Written] = {}
    """By model: the last write of its state."""
    deltas: dict[int, Written] = {}
    """By number of a delta: its write."""
    pending_models: dict[str, WaitingModel] = msgspec.field(name="newcomers", default_factory=dict)
    source: str = ""
    """The id of the topic that the snapshot was made from."""


class ModelSnapshot(msgspec.Struct):
    """A model's state without its open panes, and the open panes."""

    state: ModelState
    open: dict[str, dict[int, list[OpenPart]]]
    """By timeline and start of the pane."""


class _FormerConsumers(msgspec.Struct):
    """The fields of a model's state that held, up to format 2, what is the state of a consumer now."""

    volumes: Any = None
    watches: Any = None
    health: Any = None

    def states(self) -> dict[str, Any]:
        """The states by the name of their consumer."""
        states = {}
        if self.volumes is not None:
            states["volume"] = {"ranges": self.volumes}
        if self.watches is not None:
            states["error_impact"] = self.watches
        if self.health is not None:
            states["health"] = {"published": self.health}
        return states


class _FormerSnapshot(msgspec.Struct):
    """Of a `ModelSnapshot` of format 2: the fields that are the states of consumers now."""

    state: _FormerConsumers


class Record(NamedTuple):
    """A record for the topic; value None deletes the key."""

    key: bytes
    value: bytes | None


class Restored(NamedTuple):
    """The content of a snapshot."""

    state: PartitionState
    models: dict[str, ModelState]
    snapshots: Snapshots


class Snapshots:
    """The snapshots of one partition: tracks what the topic holds and what has changed since."""

    def __init__(self) -> None:
        self._models: dict[str, Written] = {}
        self._deltas: dict[int, tuple[Delta, Written]] = {}
        self._numbers: dict[int, int] = {}
        """By identity of a delta on the topic: its number."""
        self._next = 0
        self._any = False

    @property
    def any(self) -> bool:
        """Whether the topic holds a snapshot."""
        return self._any

    def unchanged(self, offset: int) -> list[str]:
        """The models that the snapshot of this offset did not write again."""
        return [name for name, written in self._models.items() if written.offset != offset]

    def write(self, judge: PartitionJudge, offset: int, source: str = "") -> Iterator[Record]:
        """The records of a snapshot of a judge that has processed the topic with the id `source` up to `offset`."""
        self._any = True
        judge.memory.cut()
        live = deltas_of(judge.memory.panes()) | {
            id(delta): (delta, [])
            for pending_model in judge.state.pending_models.values()
            for delta in pending_model.deltas
        }
        yield from self._write_deltas([delta for delta, _ in live.values()], offset)
        for name in sorted(judge.models):
            model = judge.models[name]
            if model.changed or name not in self._models:
                yield from self._write_model(name, pack(self._model(model.saved_state())), offset)
                model.saved()
        for name in self._models.keys() - judge.models.keys():
            removed = self._models.pop(name)
            yield from (Record(_key(name, part), None) for part in range(removed.parts))
        yield from _records(SnapshotPart("", offset, 0, 0, b""), pack(self._head(judge, source)))

    def _write_deltas(self, live: Sequence[Delta], offset: int) -> Iterator[Record]:
        for delta in live:
            if id(delta) not in self._numbers:
                number, self._next = self._next, self._next + 1
                records = [*_records(SnapshotPart("", offset, 0, 0, b"", delta=number), pack(delta))]
                self._numbers[id(delta)] = number
                self._deltas[number] = delta, Written(offset, len(records))
                yield from records
        kept = {id(delta) for delta in live}
        for number, (delta, written) in list(self._deltas.items()):
            if id(delta) not in kept:
                del self._deltas[number], self._numbers[id(delta)]
                yield from (Record(_key(number, part), None) for part in range(written.parts))

    def _model(self, state: ModelState) -> ModelSnapshot:
        open_parts = {
            name: {pane: [self._open_part(part) for part in parts] for pane, parts in timeline.open_panes.items()}
            for name, timeline in state.timelines.items()
            if timeline.open_panes
        }
        bare = {name: msgspec.structs.replace(timeline, open_panes={}) for name, timeline in state.timelines.items()}
        return ModelSnapshot(msgspec.structs.replace(state, timelines=bare), open_parts)

    def _open_part(self, part: PanePart) -> OpenPart:
        return OpenPart(self._numbers[id(part.delta)], part.first, part.last, part.rows)

    def _write_model(self, name: str, payload: bytes, offset: int) -> Iterator[Record]:
        records = [*_records(SnapshotPart(name, offset, 0, 0, b""), payload)]
        former = self._models.get(name, Written(0, 0))
        self._models[name] = Written(offset, len(records))
        yield from records
        yield from (Record(_key(name, part), None) for part in range(len(records), former.parts))

    def _head(self, judge: PartitionJudge, source: str) -> SnapshotHead:
        pending_models = {
            name: WaitingModel([self._numbers[id(delta)] for delta in one.deltas], one.performance, one.pairs)
            for name, one in judge.state.pending_models.items()
        }
        return SnapshotHead(
            msgspec.structs.replace(judge.state, pending_models={}),
            sorted(judge.models),
            dict(self._models),
            {number: written for number, (_, written) in self._deltas.items()},
            pending_models,
            source,
        )

    # --- reading ---

    @classmethod
    def read(cls, values: Iterable[bytes], offset: int | None = None) -> Restored:
        """The state as of `offset`, or the newest one.

        Raises:
            RestoreError: the log does not hold all of it.
            FormatError: a newer version wrote it.
        """
        by_key: dict[bytes, SnapshotPart] = {}
        for value in values:
            try:
                part = unpack(value, SnapshotPart)
            except FormatError as error:  # if it replaced one of our records, `_joined` reports that as missing
                log.warning("the state topic holds a record that is not ours, which is left out: %s", error)
                continue
            if not OLDEST_FORMAT <= part.v <= SNAPSHOT_FORMAT:
                raise FormatError(
                    f"a snapshot has format {part.v}, this version reads {SNAPSHOT_FORMAT}: upgrade first"
                )
            by_key[part.key()] = part
        if not by_key:
            return Restored(PartitionState(), {}, cls())
        head_part = by_key.get(_key("", 0))
        if head_part is not None and offset is None:
            offset = head_part.offset
        if head_part is None or offset is None or head_part.offset != offset:
            raise RestoreError(f"the state topic has snapshots, but none of profiles offset {offset}")
        head = unpack(_joined(by_key, "", offset), SnapshotHead, own=True)
        if head_part.v == OLDEST_FORMAT:
            models = {}
            for name in head.models:
                payload = _joined(by_key, name, offset)
                state = models[name] = unpack(payload, ModelState, own=True)
                state.consumers = unpack(payload, _FormerConsumers, own=True).states()
                # each part holds a whole delta of its own
                cut(timeline.open_panes for timeline in state.timelines.values())
            snapshots = cls()
            snapshots._any = True
            return Restored(head.state, models, snapshots)
        return cls()._restored(by_key, head, offset)

    def _restored(self, by_key: Mapping[bytes, SnapshotPart], head: SnapshotHead, offset: int) -> Restored:
        self._any = True
        for number, written in head.deltas.items():
            delta = unpack(_joined(by_key, number, written.offset), Delta)
            self._deltas[number], self._numbers[id(delta)] = (delta, Written(*written)), number
        self._next = max(self._deltas, default=-1) + 1
        models = {}
        for name in head.models:
            self._models[name] = Written(*head.written[name])
            payload = _joined(by_key, name, self._models[name].offset)
            snapshot = unpack(payload, ModelSnapshot, own=True)
            if by_key[_key(name, 0)].v < SNAPSHOT_FORMAT:
                snapshot.state.consumers = unpack(payload, _FormerSnapshot, own=True).state.states()
            for timeline, panes in snapshot.open.items():
                snapshot.state.timelines[timeline].open_panes = self._open_panes(panes)
            models[name] = snapshot.state
        for name, waiting in head.pending_models.items():
            deltas = [self._deltas[number][0] for number in waiting.deltas]
            head.state.pending_models[name] = PendingModel(deltas, waiting.performance, waiting.pairs)
        return Restored(head.state, models, self)

    def _open_panes(self, panes: Mapping[int, Sequence[OpenPart]]) -> OpenPanes:
        try:
            return {
                pane: [PanePart(self._deltas[part.delta][0], part.first, part.last, part.rows) for part in parts]
                for pane, parts in panes.items()
            }
        except KeyError as error:
            raise RestoreError(f"the state topic holds no delta {error} that an open pane lies in") from error


def source_of(values: Iterable[bytes]) -> str:
    """The id of the topic that the newest snapshot was made from; empty when it is unknown."""
    heads = []
    for value in values:
        try:
            part = unpack(value, SnapshotPart)
        except FormatError:  # `Snapshots.read` logs it
            continue
        if part.name == "" and part.delta is None:
            heads.append(part)
    newest = [part for part in heads if part.offset == heads[-1].offset] if heads else []
    if not newest or newest[0].v == OLDEST_FORMAT or len(newest) < newest[0].parts:
        return ""
    payload = b"".join(part.payload for part in sorted(newest, key=lambda part: part.part))
    return unpack(payload, SnapshotHead).source


def _records(first: SnapshotPart, payload: bytes) -> Iterator[Record]:
    pieces = [payload[begin : begin + MAX_RECORD_BYTES] for begin in range(0, len(payload), MAX_RECORD_BYTES)]
    for number, piece in enumerate(pieces):
        part = msgspec.structs.replace(first, part=number, parts=len(pieces), payload=piece, v=SNAPSHOT_FORMAT)
        yield Record(part.key(), pack(part))


def _joined(by_key: Mapping[bytes, SnapshotPart], owner: str | int, offset: int) -> bytes:
    first = by_key.get(_key(owner, 0))
    parts = [by_key.get(_key(owner, part)) for part in range(first.parts if first is not None else 1)]
    if any(part is None or part.offset != offset for part in parts):
        name = f"delta {owner}" if isinstance(owner, int) else repr(owner) if owner else "the partition"
        raise RestoreError(f"the snapshot of {name} is incomplete on the state topic")
    return b"".join(part.payload for part in parts if part is not None)
