"""MessagePack with numpy arrays: the format of profiles, change logs and snapshots.

An array is one extension value: dtype code, number of dimensions, shape, then the raw little-endian items. Reading
one costs no copy.
"""

from __future__ import annotations

import struct
from typing import Any, TypeVar

import msgspec
import numpy as np

from stream_monitor.errors import FormatError

_ARRAY = 1
_DTYPES = {c: np.dtype("<" + c) for c in ("i8", "i4", "u8", "u4", "u2", "f8", "f4")} | {
    "u1": np.dtype("u1"),
    "b1": np.dtype("?"),
}
_CODES = {dtype: i for i, dtype in enumerate(_DTYPES.values())}
_BY_CODE = list(_DTYPES.values())

T = TypeVar("T")


def _encode_array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        head = struct.pack(f"<BB{value.ndim}I", _CODES[value.dtype], value.ndim, *value.shape)
        return msgspec.msgpack.Ext(_ARRAY, head + value.tobytes())
    raise NotImplementedError(f"{type(value)} has no place in a packed record")


def _decode_array(code: int, data: memoryview) -> np.ndarray[Any, Any]:
    if code != _ARRAY:
        raise FormatError(f"unknown extension {code} in a packed record")
    dtype, ndim = data[0], data[1]
    if ndim == 1:  # nearly all are; their length is what follows
        item = _BY_CODE[dtype]
        return np.ndarray(((len(data) - 6) // item.itemsize,), item, data, 6)
    shape = struct.unpack_from(f"<{ndim}I", data, 2)
    return np.frombuffer(data, _BY_CODE[dtype], offset=2 + 4 * ndim).reshape(shape)


def _copy_array(code: int, data: memoryview) -> np.ndarray[Any, Any]:
    return _decode_array(code, data).copy()


def _accept(wanted: type, value: Any) -> Any:
    if isinstance(value, wanted):
        return value
    raise FormatError(f"expected {wanted}, found {type(value)}")


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
        hook = _copy_array if own else _decode_array
        decoder = _decoders[kind, own] = msgspec.msgpack.Decoder(kind, dec_hook=_accept, ext_hook=hook)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except msgspec.MsgspecError as error:
        raise FormatError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error
