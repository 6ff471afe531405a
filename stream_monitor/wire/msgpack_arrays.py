"""MessagePack with numpy arrays: the format of profiles, change logs and snapshots.

An array is one extension value: dtype code, number of dimensions, shape, then the raw little-endian items. A `Table`
is one too, for most of what reading an array costs is the call for it. Its arrays are made when somebody asks for one:
many tables at once are read by `chained.chain`, which needs none of them. Nothing that was read keeps the record, which
may be a thousand times as large.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from operator import mul
from typing import Any, ClassVar, Self, TypeVar

import msgspec
import numpy as np

from stream_monitor.errors import FormatError

_ARRAY = 1
_TABLE = 2
_DTYPES = {c: np.dtype("<" + c) for c in ("i8", "i4", "u8", "u4", "u2", "f8", "f4")} | {
    "u1": np.dtype("u1"),
    "b1": np.dtype("?"),
    "i2": np.dtype("<i2"),
}
_CODES = {dtype: i for i, dtype in enumerate(_DTYPES.values())}
_BY_CODE = list(_DTYPES.values())
_SIZES = [dtype.itemsize for dtype in _BY_CODE]

_HEAD = struct.Struct("<BBI")
"""Of a table: its code, how many arrays, bytes of its lists."""
_COLUMN = struct.Struct("<BI")
"""Of an array of a table: dtype code, items."""
_COLUMNS = [struct.Struct("<" + count * _COLUMN.format[1:]) for count in range(32)]
"""Of all arrays of a table."""
_SHAPES = [struct.Struct(f"<{ndim}I") for ndim in range(8)]
"""By dimensions."""

HEAD_BYTES = _HEAD.size, _COLUMN.size
ITEMS = [(d.itemsize, {"u": 0, "b": 0, "i": 1, "f": 2 if d.itemsize == 8 else 3}[d.kind]) for d in _BY_CODE]
"""By dtype code: bytes of an item; 0 unsigned, 1 signed, 2 a double, 3 another."""

STRINGS = 65_536
"""Strings of tables that are remembered, to be one object each."""
KNOWN_LISTS, LIST_BYTES = 4_096, 8_192
"""Lists of names that are remembered, and the bytes of the longest."""

T = TypeVar("T")


class Table:
    """Lists (`LISTS`) and arrays of one dimension (`ARRAYS`) that belong together.

    A subclass names its fields, and a `code` of its own on the wire.
    """

    __slots__ = ("_begin", "_heads", "_late", "_packed")
    CODE: ClassVar[int]
    TEXTS: ClassVar[frozenset[str]]
    LISTS: ClassVar[tuple[str, ...]]
    ARRAYS: ClassVar[tuple[str, ...]]
    EARLY: ClassVar[tuple[str, ...]]
    """Lists that are decoded when the table is read: all but the late one."""
    _tables: ClassVar[dict[int, type[Table]]] = {}
    _packed: bytes | None
    """As it was read; None of one that was made here."""
    _heads: tuple[int, ...]
    """Of each array its dtype code and how many items it has."""
    _begin: int
    """Where in `_packed` the items of the first array begin."""
    _late: int
    """Where in `_packed` the late list begins; it ends before them."""

    STEADY: ClassVar[bool]
    """Whether the lists of most tables are those of one before."""

    LATE: ClassVar[str | None]
    """The last list, where its texts are decoded when somebody asks for them."""

    def __init_subclass__(cls, code: int, steady: bool = False, late: str | None = None) -> None:
        fields = cls.__annotations__
        cls.CODE, Table._tables[code], cls.STEADY, cls.LATE = code, cls, steady, late
        cls.LISTS = tuple(name for name, kind in fields.items() if kind.startswith("list"))
        cls.TEXTS = frozenset(name for name, kind in fields.items() if kind == "list[str]")
        cls.EARLY = tuple(name for name in cls.LISTS if name != late)
        cls.ARRAYS = tuple(name for name in fields if name not in cls.LISTS)

    def __init__(self, **columns: Any) -> None:
        if columns.keys() != {*self.LISTS, *self.ARRAYS}:
            raise FormatError(f"a {type(self).__name__} has other columns than {sorted(columns)}")
        self._packed = None
        for name, column in columns.items():
            setattr(self, name, column)

    def __getattr__(self, name: str) -> Any:
        """The arrays of a table that was read, made when the first is asked for, and its late list."""
        if name == type(self).LATE and self._packed is not None:
            setattr(self, name, found := _read_texts(self.packed_late))
            return found
        if name not in type(self).ARRAYS or self._packed is None:
            raise AttributeError(f"a {type(self).__name__} has no {name}")
        at = self._begin
        for column, dtype, items in zip(self.ARRAYS, self._heads[::2], self._heads[1::2], strict=True):
            item = _BY_CODE[dtype]
            setattr(self, column, np.ndarray((items,), item, self._packed, at))
            at += items * item.itemsize
        return getattr(self, name)

    @property
    def packed(self) -> bytes:
        """The table as it is on the wire."""
        return _encode_table(self) if self._packed is None else self._packed

    def length(self, array: str) -> int:
        """Items of an array."""
        if self._packed is not None:
            return self._heads[2 * self.ARRAYS.index(array) + 1]
        return len(getattr(self, array))

    @property
    def packed_late(self) -> bytes:
        """The late list as MessagePack."""
        if self._packed is None:
            return msgspec.msgpack.encode(getattr(self, str(self.LATE)))
        return self._packed[self._late : self._begin]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""
        if self._packed is not None:
            return len(self._packed)
        return sum(getattr(self, name).nbytes for name in self.ARRAYS)

    def opening(self, arrays: int) -> tuple[bytes, tuple[int, ...], bytes] | None:
        """The early lists as they were read, the dtype codes and items of the first arrays, and their bytes.

        They tell the beginnings of two tables apart. None of a table that was not read.
        """
        packed = self._packed
        if packed is None:
            return None
        heads, begin = self._heads[: 2 * arrays], self._begin
        end = begin + _bytes_of(heads)
        lists = _HEAD.size + len(self.ARRAYS) * _COLUMN.size
        return packed[lists : begin if self.LATE is None else self._late], heads, packed[begin:end]

    def columns(self) -> dict[str, Any]:
        """All lists and arrays by name."""
        return {name: getattr(self, name) for name in (*self.LISTS, *self.ARRAYS)}

    def replaced(self, **columns: Any) -> Self:
        """The same with some columns in place of its own."""
        return type(self)(**(self.columns() | columns))

    @classmethod
    def none(cls) -> Self:
        """A table of no rows; pointers have their one end."""
        ends = {name: np.zeros(1 if name.endswith("ptr") else 0, np.uint8) for name in cls.ARRAYS}
        return cls(**{name: [] for name in cls.LISTS}, **ends)


def _encode_table(table: Table) -> bytes:
    lists = msgspec.msgpack.encode([getattr(table, name) for name in table.LISTS])
    arrays = [getattr(table, name) for name in table.ARRAYS]
    heads = [_COLUMN.pack(_CODES[array.dtype], len(array)) for array in arrays]
    head = _HEAD.pack(table.CODE, len(arrays), len(lists))
    return b"".join([head, *heads, lists, *[array.tobytes() for array in arrays]])


def _bytes_of(heads: tuple[int, ...]) -> int:
    return sum(map(mul, heads[1::2], map(_SIZES.__getitem__, heads[::2])))


def _decode_table(data: memoryview) -> Table:
    code, count, size = _HEAD.unpack_from(data)
    kind = Table._tables[code]
    if count != len(kind.ARRAYS):
        raise FormatError(f"a {kind.__name__} has {len(kind.ARRAYS)} arrays, not {count}")
    table = kind.__new__(kind)
    heads = table._heads = _COLUMNS[count].unpack_from(data, _HEAD.size)
    lists = _HEAD.size + count * _COLUMN.size
    begin = table._begin = lists + size
    if kind.LATE is None:
        early = _read_lists(kind, data[lists:begin])
    else:
        *raw, late = _raw_lists.decode(data[lists:begin])
        early, table._late = [_steady(("", bytes(texts)), _read_texts) for texts in raw], begin - len(late)
    for name, column in zip(kind.EARLY, early, strict=True):
        setattr(table, name, column)
    if begin + _bytes_of(heads) != len(data):
        raise FormatError(f"a table has {len(data)} bytes, and says {begin + _bytes_of(heads)}")
    table._packed = bytes(data)
    return table


def _read_lists(kind: type[Table], data: memoryview) -> list[list[Any]]:
    def read(data: bytes | memoryview) -> list[list[Any]]:
        lists = zip(kind.LISTS, _lists.decode(data), strict=True)
        return [_shared(column) if name in kind.TEXTS else column for name, column in lists]

    return _steady((kind.__name__, bytes(data)), read) if kind.STEADY else read(data)


def _read_texts(data: bytes) -> list[str]:
    try:
        return _shared(_texts.decode(data))
    except msgspec.MsgspecError as error:
        raise FormatError(f"a broken list of texts in a packed record: {error}") from error


def _steady(key: tuple[str, bytes], read: Callable[[bytes], list[Any]]) -> list[Any]:
    """What was read of (what they are, bytes) before, or what is read now."""
    found = _known_lists.get(key)
    if found is None and len(key[1]) > LIST_BYTES:
        return read(key[1])
    if found is None:
        if len(_known_lists) >= KNOWN_LISTS:
            _known_lists.clear()
        found = _known_lists[key] = read(key[1])
    return found


def _shared(strings: list[str]) -> list[str]:
    """The same strings, one object each in all records: nearly all have come before, and then their hash is known."""
    if len(_strings) > STRINGS:
        _strings.clear()
    return [*map(_strings.setdefault, strings, strings)]


def _encode_array(value: Any) -> Any:
    if isinstance(value, Table):
        return msgspec.msgpack.Ext(_TABLE, _encode_table(value))
    if isinstance(value, np.ndarray):
        head = struct.pack(f"<BB{value.ndim}I", _CODES[value.dtype], value.ndim, *value.shape)
        return msgspec.msgpack.Ext(_ARRAY, head + value.tobytes())
    raise NotImplementedError(f"{type(value)} has no place in a packed record")


def _decode(code: int, data: memoryview) -> Table | np.ndarray[Any, Any]:
    try:
        if code == _TABLE:
            return _decode_table(data)
        if code == _ARRAY:
            return _decode_array(data)
    except (struct.error, msgspec.MsgspecError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"a broken table or array in a packed record: {error}") from error
    raise FormatError(f"unknown extension {code} in a packed record")


def _decode_array(data: memoryview) -> np.ndarray[Any, Any]:
    dtype, ndim, copied = data[0], data[1], bytes(data)
    item, begin = _BY_CODE[dtype], 2 + 4 * ndim
    if ndim == 1:  # nearly all are; their length is what follows
        return np.ndarray(((len(data) - begin) // item.itemsize,), item, copied, begin)
    shape = _SHAPES[ndim].unpack_from(data, 2)
    if math.prod(shape) * item.itemsize != len(data) - begin:
        raise FormatError(f"an array of shape {shape} has {len(data) - begin} bytes")
    return np.ndarray(shape, item, copied, begin)


def _decode_own(code: int, data: memoryview) -> Table | np.ndarray[Any, Any]:
    read = _decode(code, data)
    if not isinstance(read, Table):
        return read.copy()
    return read.replaced(**{name: getattr(read, name).copy() for name in read.ARRAYS})


def _accept(wanted: type, value: Any) -> Any:
    if isinstance(value, wanted):
        return value
    if issubclass(wanted, Table) and isinstance(value, dict):  # as it was written before there were tables
        return wanted(**value)
    raise FormatError(f"expected {wanted}, found {type(value)}")


_strings: dict[str, str] = {}
_known_lists: dict[tuple[str, bytes], list[Any]] = {}
_lists = msgspec.msgpack.Decoder(list[list[Any]])
_raw_lists = msgspec.msgpack.Decoder(list[msgspec.Raw])
_texts = msgspec.msgpack.Decoder(list[str])
_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def pack(record: Any) -> bytes:
    """A struct, with numpy arrays anywhere in it, as bytes."""
    return _encoder.encode(record)


def unpack(data: bytes, kind: type[T], own: bool = False) -> T:
    """The inverse of `pack`. FormatError if it is not a `kind`.

    Arrays are read-only views of what was read, or with `own` copies, for state that goes on changing.
    """
    decoder = _decoders.get((kind, own))
    if decoder is None:
        hook = _decode_own if own else _decode
        decoder = _decoders[kind, own] = msgspec.msgpack.Decoder(kind, dec_hook=_accept, ext_hook=hook)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


def as_kind(value: Any, kind: type[T]) -> T:
    """A value as a `kind`: itself, or made of the dicts and lists that MessagePack made of one. FormatError if not."""
    if isinstance(value, kind):
        return value
    try:
        return msgspec.convert(value, kind, dec_hook=_accept)
    except msgspec.MsgspecError as error:
        raise FormatError(f"not a {kind.__name__}: {error}") from error
