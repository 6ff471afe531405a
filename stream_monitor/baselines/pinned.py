"""Pinned baselines.

The command `baseline build` makes them from a file and writes them as JSON. Records of topic `profiles` make them
active.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.baselines.sampled_rows import Rows
from stream_monitor.errors import FormatError
from stream_monitor.profiles.bins import BINS
from stream_monitor.profiles.measures import LARGEST, TimelineName, base_of, is_distance
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.records import MAX_RECORD_BYTES, PinRecord, ResetRecord
from stream_monitor.profiles.tails import NO_TAIL
from stream_monitor.wire.msgpack_arrays import pack, unpack

FORMAT = 1


class PinnedMeasure(msgspec.Struct):
    """The baseline of a measure in a segment, with the edges of its counts (None: categorical)."""

    timeline: TimelineName = msgspec.field(name="lane")
    segment: str
    measure: str
    baseline: Baseline
    borders: np.ndarray | None = None
    rows: bytes = b""
    """Only of measure `joint(features)`: the packed `baselines.sampled_rows.Rows`, or a part of them."""
    centroid: np.ndarray | None = None
    """Only of a measure `distance(...)`: (length,) the point from which distances are measured."""
    tail: float = NO_TAIL
    """One of the borders, at which the measure's tail starts; files of former versions have none."""

    def pieces(self, most: int) -> list[PinnedMeasure]:
        """The same baseline in parts, each with about `most` bytes of rows."""
        count = -(-len(self.rows) // most)
        if count <= 1:
            return [self]
        rows = unpack(self.rows, Rows)
        place = np.arange(len(rows)) * count // max(len(rows), 1)
        return [msgspec.structs.replace(self, rows=pack(rows.kept(place == part, rows.upto))) for part in range(count)]


class PinnedBaseline(msgspec.Struct):
    """The baseline of a model, or of one version of it."""

    model: str
    version: str | None
    name: str
    measures: list[PinnedMeasure]

    def records(self) -> list[PinRecord]:
        """The baseline as records of topic `profiles`, each small enough for a broker."""
        chunks: list[list[PinnedMeasure]] = [[]]
        size = 0
        for measure in itertools.chain(*(measure.pieces(MAX_RECORD_BYTES // 2) for measure in self.measures)):
            length = len(pack(measure))
            if size + length > MAX_RECORD_BYTES and chunks[-1]:
                chunks.append([])
                size = 0
            chunks[-1].append(measure)
            size += length
        payloads = [pack(chunk) for chunk in chunks]
        digest = hashlib.sha256(b"".join([self.name.encode(), *payloads])).hexdigest()[:16]
        return [
            PinRecord(self.model, self.version, digest, part, len(payloads), payload)
            for part, payload in enumerate(payloads)
        ]


class BaselineFile(msgspec.Struct):
    """The content of a file that `baseline build --out` writes."""

    baselines: list[PinnedBaseline]
    format: int = FORMAT


class Pin(msgspec.Struct):
    """A pinned baseline as the judge reads it, part by part."""

    version: str | None
    digest: str
    wanted: int
    parts: dict[int, bytes] = {}

    def measures(self) -> list[PinnedMeasure]:
        """All measures, in the order of the records."""
        return [m for part in sorted(self.parts) for m in unpack(self.parts[part], list[PinnedMeasure])]

    def without(self, reset: ResetRecord) -> Pin | None:
        """The same baseline without the measures that a reset covers; None if no measure is left."""
        left = [m for m in self.measures() if not reset.covers(self.version, m.segment, m.measure)]
        return Pin(self.version, self.digest, 1, {0: pack(left)}) if left else None


def write_file(path: Path, baselines: list[PinnedBaseline]) -> None:
    """Write baselines as JSON."""
    raw = msgspec.json.encode(BaselineFile(baselines), enc_hook=_to_list)
    path.write_bytes(msgspec.json.format(raw, indent=0) + b"\n")


def read_file(path: Path, embeddings: Mapping[str, int] | None = None) -> list[PinnedBaseline]:
    """Read the baselines of a file.

    Raises:
        FormatError: the file is not ours, has a newer format, or has a centroid whose length differs from that in
            `embeddings`, the embeddings of the settings.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=BaselineFile, dec_hook=_to_array)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no baseline file of `stream-monitor baseline build`: {error}") from error
    if file.format != FORMAT:
        raise FormatError(f"{path} has format {file.format}, this version reads {FORMAT}: upgrade first")
    for pinned in file.baselines:
        for measure in pinned.measures:
            if not _sound(measure):
                parts = "counts, borders, rows or centroid"
                raise FormatError(f"{path}: the {parts} of {measure.measure!r} do not fit each other")
            length = 0 if measure.centroid is None else len(measure.centroid)
            wanted = (embeddings or {}).get(base_of(measure.measure) or "", length)
            if length and length != wanted:
                problem = f"has {length} numbers, and `embeddings` of the settings asks for {wanted}"
                raise FormatError(
                    f"{path}: the centroid of {measure.measure} {problem}: build the file with these settings"
                )
    return file.baselines


def _sound(pinned: PinnedMeasure) -> bool:
    """Whether the parts of a baseline fit each other.

    A judge trusts the records of its topic, so a file that somebody edited by hand is checked here.
    """
    counts, borders, centroid = pinned.baseline.counts, pinned.borders, pinned.centroid
    if pinned.rows and not unpack(pinned.rows, Rows).sound:
        return False
    distance = (
        pinned.timeline == "input"
        and pinned.segment == ALL_SEGMENTS
        and is_distance(pinned.measure)
        and counts is not None
    )
    if centroid is not None and not (distance and len(centroid) and (np.abs(centroid) < LARGEST).all()):
        return False
    if counts is None or borders is None:
        return counts is None and borders is None
    shapes = counts.shape == (BINS,) and 0 < len(borders) < BINS
    return shapes and counts.dtype.kind == "i" and bool((counts >= 0).all() and (np.diff(borders) > 0).all())


def _to_list(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError(f"{type(value)} has no place in a baseline file")


def _to_array(wanted: type, value: Any) -> Any:
    if wanted is np.ndarray and isinstance(value, list):
        array = np.array(value)
        if array.ndim == 1 and array.dtype.kind in "if":
            return array
    raise ValueError("expected a list of numbers")
