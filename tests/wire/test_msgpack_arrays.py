"""Packed records: what is written is read again, as views or owned, and broken bytes are told, not misread."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.errors import FormatError
from stream_monitor.profiles.delta import CategoricalRows, Delta, NumericRows
from stream_monitor.profiles.records import OLDEST_FORMAT, DeltaRecord, read_record, write_record
from stream_monitor.wire import msgpack_arrays as arrays
from stream_monitor.wire.msgpack_arrays import Table, pack, unpack


def delta() -> Delta:
    numeric = NumericRows.none().replaced(
        names=["x"], edges=[1], cell=np.array([0], "u1"), name=np.array([0], "u1"), n=np.array([300], "u2"),
        mean=np.array([0.5]), m2=np.array([2.0]), low=np.array([-1.0]), high=np.array([1e300]),
        bin_ptr=np.array([0, 2], "u1"), bin_at=np.array([3, 9], "u1"), bin_n=np.array([100, 200], "u1"),
        value_ptr=np.array([0, 0], "u1"),
    )  # fmt: skip
    categorical = CategoricalRows.none().replaced(names=["größe"], categories=["é", ""], ptr=np.array([0, 2], "u4"))
    return Delta("m", "input", ["1"], ["__all__"], np.array([60_000]), np.ones((1, 3), "u1"), numeric, categorical)


def plain(record: Delta) -> list[object]:
    tables = [table.columns() for table in (record.numeric, record.categorical)]
    return [{name: np.asarray(column).tolist() for name, column in table.items()} for table in tables]


@pytest.mark.parametrize("own", [False, True])
def test_tables_are_read_as_they_were_written(own: bool) -> None:
    again = unpack(pack(delta()), Delta, own=own)
    assert plain(again) == plain(delta())
    assert again.numeric.n.dtype == np.uint16
    assert again.numeric.mean.flags.writeable == own


def test_tables_that_the_first_format_wrote_as_maps_are_read() -> None:
    old = msgspec.msgpack.decode(pack(delta()), ext_hook=lambda code, data: msgspec.msgpack.Ext(code, data))
    old |= {"numeric": delta().numeric.columns(), "categorical": delta().categorical.columns()}
    record = {"type": "delta", "deltas": [old], "performance": [], "v": OLDEST_FORMAT}
    found = read_record(pack(record))
    assert isinstance(found, DeltaRecord)
    assert plain(found.deltas[0]) == plain(delta())


def test_strings_of_records_are_shared_up_to_a_bound() -> None:
    """Nearly all have come before; an ever new category must not be remembered for ever."""
    for first in range(0, 3 * arrays.STRINGS, 10_000):
        names = [f"c{i}" for i in range(first, first + 10_000)]
        written = pack(CategoricalRows.none().replaced(names=["x"], categories=names))
        _, one, other = [unpack(written, CategoricalRows).categories for _ in range(3)]
        # the second may forget, the third does not
        assert one == names and len(arrays._strings) <= arrays.STRINGS + 10_001
        assert other[0] is one[0]


def test_lists_of_names_are_one_object_up_to_a_bound() -> None:
    def read(names: list[str]) -> list[str]:
        return unpack(pack(NumericRows.none().replaced(names=names, edges=[0] * len(names))), NumericRows).names

    for at in range(arrays.KNOWN_LISTS + 10):
        names = [f"n{at}", "x"]
        assert read(names) == names and read(names) is read(names)
        assert len(arrays._known_lists) <= arrays.KNOWN_LISTS
    long = ["x" * arrays.LIST_BYTES]
    assert read(long) == long and read(long) is not read(long)


@given(st.data())
def test_broken_bytes_are_a_format_error_or_a_record(data: st.DataObject) -> None:
    written = bytearray(write_record(DeltaRecord([delta()])))
    for _ in range(data.draw(st.integers(1, 3))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(written[: data.draw(st.integers(0, len(written)))])
    try:
        read_record(broken)
    except FormatError:
        return
    assert msgspec.msgpack.decode(broken, ext_hook=lambda code, data: code)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 3), (2, 1, 2)])
def test_an_array_has_the_shape_it_was_written_with_and_no_other(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    written = pack(array)
    np.testing.assert_array_equal(unpack(written, np.ndarray), array)
    assert unpack(written, np.ndarray).shape == shape
    if len(shape) > 1:
        longer = written.replace(
            bytes([len(shape), *np.array(shape, "<u4").tobytes()]),
            bytes([len(shape), 5] + [0] * 3 + list(np.array(shape[1:], "<u4").tobytes())),
            1,
        )
        assert longer != written
        with pytest.raises(FormatError):
            unpack(longer, np.ndarray)


def test_what_was_read_before_does_not_make_a_broken_table_whole() -> None:
    """The same bytes are lists of one kind of table, and none of another."""
    texts = msgspec.msgpack.encode([["x"], [0]])

    def written(table: Table) -> bytes:
        packed = bytearray(table.packed)
        size = int.from_bytes(packed[2:6], "little")
        begin = 6 + 5 * len(table.ARRAYS)
        lists = texts if table.LATE is None else b"\x92" + texts + b"\x90"
        packed[2:6], packed[begin : begin + size] = len(lists).to_bytes(4, "little"), lists
        return msgspec.msgpack.encode(msgspec.msgpack.Ext(2, bytes(packed)))

    assert unpack(written(NumericRows.none()), NumericRows).names == ["x"]
    with pytest.raises(FormatError):
        unpack(written(CategoricalRows.none()), CategoricalRows)
