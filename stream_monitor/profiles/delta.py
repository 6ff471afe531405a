"""A delta: what one commit of one worker adds to the profiles of a model."""

from __future__ import annotations

import msgspec
import numpy as np

from stream_monitor.profiles.samples import SampleRows, VectorRows
from stream_monitor.wire.msgpack_arrays import Table


class NumericRows(Table, code=0, steady=True):
    """Numeric rows of a delta, in columns.

    Row r has the bins [bin_ptr[r], bin_ptr[r + 1]) where its measure has edges, else the values
    [value_ptr[r], value_ptr[r + 1]).
    """

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


class TailRows(Table, code=4):
    """The tails of the numeric rows of a delta, in columns.

    Numeric row r has n[i] values in bin at[i] of its measure's tail for i in [ptr[r], ptr[r + 1]). They are counted in
    the bins of its edges, too.
    """

    __slots__ = ("at", "n", "ptr")
    ptr: np.ndarray
    at: np.ndarray
    n: np.ndarray


class CategoricalRows(Table, code=1, late="categories"):
    """Categorical rows of a delta, in columns.

    Row r has count[i] values of the category categories[code[i]], for each i in [ptr[r], ptr[r + 1]).
    """

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

    # `stream-monitor schema profile` prints this docstring, as it does those of the records.

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
    """Sampled rows of the cells of segment `all`, if the setting `sample.rows` asks for them."""
    vectors: VectorRows | None = None
    """The embeddings of the sampled rows. Such a delta counts nothing, and its sample has only hashes."""
    tails: TailRows | None = None
    """None if no numeric row has a tail."""
