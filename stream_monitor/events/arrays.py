"""MessagePack with numpy arrays: the format of profiles, change logs and snapshots.

An array is one extension value: dtype code, number of dimensions, shape, then the raw little-endian items. A `Table`
is one too, for most of what reading an array costs is the call for it. Reading copies nothing.
"""

from __future__ import annotations

import struct
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

_HEAD = struct.Struct("<BBI")
"""Of a table: its code, how many arrays, bytes of its lists."""
_COLUMN = struct.Struct("<BI")
"""Of an array of a table: dtype code, items."""

STRINGS = 65_536
"""Strings of tables that are remembered, to be one object each."""

T = TypeVar("T")


class Table:
    """Lists (`LISTS`) and arrays of one dimension (`ARRAYS`) that belong together.

    A subclass names its fields, and a `code` of its own on the wire.
    """

    __slots__ = ()
    CODE: ClassVar[int]
    TEXTS: ClassVar[frozenset[str]]
    LISTS: ClassVar[tuple[str, ...]]
    ARRAYS: ClassVar[tuple[str, ...]]
    _tables: ClassVar[dict[int, type[Table]]] = {}

    def __init_subclass__(cls, code: int) -> None:
        fields = cls.__annotations__
        cls.CODE, Table._tables[code] = code, cls
        cls.LISTS = tuple(name for name, kind in fields.items() if kind.startswith("list"))
        cls.TEXTS = frozenset(name for name, kind in fields.items() if kind == "list[str]")
        cls.ARRAYS = tuple(name for name in fields if name not in cls.LISTS)

    def __init__(self, **columns: Any) -> None:
        if columns.keys() != {*self.LISTS, *self.ARRAYS}:
            raise FormatError(f"a {type(self).__name__} has other columns than {sorted(columns)}")
        for name, column in columns.items():
            setattr(self, name, column)

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


def _decode_table(data: memoryview) -> Table:
    code, count, size = _HEAD.unpack_from(data)
    kind = Table._tables[code]
    table = kind.__new__(kind)
    at = _HEAD.size + count * _COLUMN.size
    for name, column in zip(kind.LISTS, _lists.decode(data[at : at + size]), strict=True):
        setattr(table, name, _shared(column) if name in kind.TEXTS else column)
    at += size
    columns = _COLUMN.iter_unpack(data[_HEAD.size : _HEAD.size + count * _COLUMN.size])
    for name, (dtype, items) in zip(kind.ARRAYS, columns, strict=True):
        item = _BY_CODE[dtype]
        setattr(table, name, np.ndarray((items,), item, data, at))
        at += items * item.itemsize
    if at != len(data):
        raise FormatError(f"a table has {len(data)} bytes, and says {at}")
    return table


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
    dtype, ndim = data[0], data[1]
    if ndim == 1:  # nearly all are; their length is what follows
        item = _BY_CODE[dtype]
        return np.ndarray(((len(data) - 6) // item.itemsize,), item, data, 6)
    shape = struct.unpack_from(f"<{ndim}I", data, 2)
    return np.frombuffer(data, _BY_CODE[dtype], offset=2 + 4 * ndim).reshape(shape)


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
_lists = msgspec.msgpack.Decoder(list[list[Any]])
_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


def pack(record: Any) -> bytes:
    """A struct, with numpy arrays anywhere in it, as bytes."""
    return _encoder.encode(record)


def unpack(data: bytes, kind: type[T], own: bool = False) -> T:
    """The inverse of `pack`. FormatError if it is not a `kind`.

    Arrays are read-only views of `data`, or with `own` copies, for state that goes on changing.
    """
    decoder = _decoders.get((kind, own))
    if decoder is None:
        hook = _decode_own if own else _decode
        decoder = _decoders[kind, own] = msgspec.msgpack.Decoder(kind, dec_hook=_accept, ext_hook=hook)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FormatError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error
