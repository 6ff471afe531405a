"""A delta: what a commit adds to the panes of a model."""

from __future__ import annotations

import msgspec
import numpy as np

from stream_monitor.profiles.samples import SampleRows, VectorRows
from stream_monitor.wire.msgpack_arrays import Table


class NumericRows(Table, code=0, steady=True):
    """Numeric rows of a delta, column-wise; row r has bins [bin_ptr[r], bin_ptr[r+1]) or values likewise."""

    __slots__ = (
        "bin_at",
        "bin_n",
        "bin_ptr",
        "cell",
        "edges",
        "high",
        "low",
        "m2",
        "mean",
        "n",
        "name",
        "names",
        "value_ptr",
        "values",
    )  # fmt: skip
    names: list[str]
    edges: list[int]
    cell: np.ndarray
    name: np.ndarray
    n: np.ndarray
    mean: np.ndarray
    m2: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bin_ptr: np.ndarray
    bin_at: np.ndarray
    bin_n: np.ndarray
    value_ptr: np.ndarray
    values: np.ndarray


class CategoricalRows(Table, code=1, late="categories"):
    """Categorical rows of a delta; row r counts categories[code[i]] for i in [ptr[r], ptr[r+1])."""

    __slots__ = ("categories", "cell", "code", "count", "n", "name", "names", "ptr")
    names: list[str]
    categories: list[str]
    cell: np.ndarray
    name: np.ndarray
    n: np.ndarray
    ptr: np.ndarray
    code: np.ndarray
    count: np.ndarray


class Delta(msgspec.Struct, omit_defaults=True):
    """One worker's share of the profiles of one model and lane: what came in since its last commit."""

    model: str
    timeline: str = msgspec.field(name="lane")
    version: list[str]
    segment: list[str]
    pane: np.ndarray
    """Start of each cell's pane, epoch ms."""
    counts: np.ndarray
    """(cells, 3): accepted events, duplicates, late ones."""
    numeric: NumericRows
    categorical: CategoricalRows
    sample: SampleRows | None = None
    """Rows of the cells of all events, where `sample.rows` asks for them."""
    vectors: VectorRows | None = None
    """The embeddings of the rows of a sample; they travel in a delta that counts nothing, its sample only hashes."""
