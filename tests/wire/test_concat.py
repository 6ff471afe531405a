"""Many tables read in one call hold what each of them holds, and broken ones are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.errors import FormatError
from stream_monitor.profiles.delta import NumericRows
from stream_monitor.wire.concat import ConcatenatedTables, concat_tables
from stream_monitor.wire.msgpack_arrays import pack, unpack

WHOLE = ("cell", "name", "n", "bin_ptr", "bin_at", "bin_n", "value_ptr")
REAL = ("mean", "m2", "low", "high", "values")
TYPES = {"u1": 8, "u2": 16, "u4": 32, "i2": 15, "i4": 31, "i8": 63}


@st.composite
def tables(draw: st.DrawFn) -> NumericRows:
    """A table of any arrays, each of any type that its items fit in; some as they are read, some as they are made."""
    columns: dict[str, np.ndarray] = {}
    for name in WHOLE:
        kind = draw(st.sampled_from(sorted(TYPES)))
        least = -(2 ** TYPES[kind]) if kind.startswith("i") else 0
        items = draw(st.lists(st.integers(least, 2 ** TYPES[kind] - 1), max_size=5))
        columns[name] = np.array(items, kind)
    for name in REAL:
        columns[name] = np.array(draw(st.lists(st.floats(), max_size=5)), np.float64)
    table = NumericRows(names=draw(st.lists(st.text(max_size=3), max_size=2)), edges=[], **columns)
    return unpack(pack(table), NumericRows) if draw(st.booleans()) else table


def read(chained: ConcatenatedTables, name: str) -> np.ndarray:
    return chained.ints(name) if name in WHOLE else chained.floats(name)


@settings(deadline=None)  # the first compiles
@given(st.lists(tables(), min_size=1, max_size=4))
def test_arrays_are_read_end_to_end(given: list[NumericRows]) -> None:
    chained = concat_tables(NumericRows, given)
    for name in (*WHOLE, *REAL):
        expected = [getattr(table, name) for table in given]
        np.testing.assert_array_equal(read(chained, name), np.concatenate(expected))
        assert chained.size(name).tolist() == [*map(len, expected)]
        assert chained.start(name).tolist() == np.cumsum([0, *map(len, expected)])[:-1].tolist()


@settings(deadline=None)
@given(tables(), tables(), st.data())
def test_a_table_that_was_broken_is_a_format_error_or_another_table(
    one: NumericRows, other: NumericRows, data: st.DataObject
) -> None:
    broken = bytearray(one.packed)
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    other._packed = bytes(broken[: data.draw(st.integers(0, len(broken)))])
    try:
        chained = concat_tables(NumericRows, [one, other])
        sizes = [len(read(chained, name)) for name in (*WHOLE, *REAL)]
    except FormatError:
        return
    assert sum(sizes) == int(chained.items.sum())


def test_an_array_of_another_type_is_a_format_error() -> None:
    table = NumericRows.none().replaced(cell=np.array([0.5]), mean=np.array([1], np.int64), low=np.array([1], "f4"))
    chained = concat_tables(NumericRows, [table])
    with pytest.raises(FormatError, match="cell of a NumericRows"):
        chained.ints("cell")
    for name in ("mean", "low"):
        with pytest.raises(FormatError, match=name):
            chained.floats(name)
