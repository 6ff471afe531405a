"""Many tables of one kind, end to end: what one array of each holds, read in one compiled call.

A record has two small tables a model and pane; making their arrays one by one would cost more than adding them up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.kernels.numba_backend import compiled, inlined, load8, load_double
from stream_monitor.types import F64, I64
from stream_monitor.wire.msgpack_arrays import HEAD_BYTES, ITEMS, Table


@dataclass(frozen=True, slots=True)
class ConcatenatedTables:
    """Tables of one kind; what is said by array and table has the shape (arrays, tables)."""

    kind: type[Table]
    packed: np.ndarray
    """(bytes,) all of them."""
    items: I64
    starts: I64
    """Where in the chained array the items of a table begin."""
    _begins: I64
    """Where in `packed` an array begins."""
    _codes: I64

    def ints(self, name: str) -> I64:
        """An array of all tables, end to end."""
        into = np.empty(int(self.size(name).sum()), np.int64)
        self._read(name, into, _read_ints)
        return into

    def floats(self, name: str) -> F64:
        """The same of numbers."""
        into = np.empty(int(self.size(name).sum()))
        self._read(name, into, _read_floats)
        return into

    def start(self, name: str) -> I64:
        """(tables,): where in the chained array `name` the items of each table begin."""
        return np.asarray(self.starts[self.kind.ARRAYS.index(name)])

    def size(self, name: str) -> I64:
        """(tables,): items that each table has of the array `name`."""
        return np.asarray(self.items[self.kind.ARRAYS.index(name)])

    def require(self, *names: str, more: int = 0) -> None:
        """FormatError unless in each table these arrays have one length, and the last `more` items than the others."""
        sizes = self.items[[self.kind.ARRAYS.index(name) for name in names]]
        sizes[-1] -= more
        if (sizes != sizes[0]).any():
            raise FormatError(f"the arrays of a {self.kind.__name__} do not fit together: {', '.join(names)}")

    def _read(self, name: str, into: np.ndarray, read: Callable[..., int]) -> None:
        at = self.kind.ARRAYS.index(name)
        arrays = self._begins[at], self._codes[at], self.items[at]
        if read(self.packed, arrays, _ITEMS, into) != len(into):
            raise FormatError(f"the array {name} of a {self.kind.__name__} is of a type that it cannot have")


def concat_tables(kind: type[Table], tables: Sequence[Table]) -> ConcatenatedTables:
    """Tables of one kind end to end. FormatError when one of them is not what it says it is."""
    packed = [table.packed for table in tables]
    sizes = np.array([*map(len, packed)], np.int64)
    firsts, shape = np.cumsum(sizes) - sizes, (len(kind.ARRAYS), len(tables))
    joined = np.frombuffer(b"".join(packed), np.uint8)
    codes, items, begins = (np.zeros(shape, np.int64) for _ in range(3))
    if not _heads(joined, firsts, sizes, HEAD_BYTES, _ITEMS, (codes, items, begins)):
        raise FormatError(f"a {kind.__name__} is not what it says it is")
    starts = np.cumsum(items, axis=1) - items
    return ConcatenatedTables(kind, joined, items, starts, begins, codes)


_ITEMS = np.array(ITEMS, np.int64)
"""(codes, 2): bytes of an item, and whether it is unsigned (0), signed (1) or a double (2); 3 is none of these."""


@inlined
def _word(packed: Any, at: int, size: int) -> Any:
    word = np.uint64(0)
    for byte in range(size):
        word |= np.uint64(packed[at + byte]) << np.uint64(8 * byte)
    return word


@compiled
def _heads(packed: Any, firsts: Any, sizes: Any, head: Any, types: Any, into: Any) -> bool:
    """Read the heads of tables that begin at `firsts`; whether each is as long as it says."""
    codes, items, begins = into
    whole, column = head
    for table in range(len(firsts)):
        first, arrays = firsts[table], codes.shape[0]
        at = first + whole + arrays * column
        if sizes[table] < whole + arrays * column:
            return False
        at += np.int64(_word(packed, first + whole - 4, 4))
        for array in range(arrays):
            place = first + whole + array * column
            code, n = np.int64(packed[place]), np.int64(_word(packed, place + 1, 4))
            if code >= len(types):
                return False
            codes[array, table], items[array, table], begins[array, table] = code, n, at
            at += n * types[code, 0]
        if at != first + sizes[table]:
            return False
    return True


@compiled
def _read_ints(packed: Any, arrays: Any, types: Any, into: Any) -> int:
    begins, codes, items = arrays
    used = 0
    for table in range(len(begins)):
        size, kind, begin = types[codes[table], 0], types[codes[table], 1], begins[table]
        if kind >= 2 and items[table]:
            return -1
        for item in range(items[table]):
            at = begin + item * size
            if size == 1:
                into[used] = packed[at]
            elif size == 8:
                into[used] = np.int64(load8(packed, at))
            else:
                word = np.int64(_word(packed, at, size))
                into[used] = word - ((word >> (8 * size - 1)) << (8 * size)) if kind == 1 else word
            used += 1
    return used


@compiled
def _read_floats(packed: Any, arrays: Any, types: Any, into: Any) -> int:
    begins, codes, items = arrays
    used = 0
    for table in range(len(begins)):
        if types[codes[table], 1] != 2 and items[table]:
            return -1
        for item in range(items[table]):
            into[used] = load_double(packed, begins[table] + 8 * item)
            used += 1
    return used
