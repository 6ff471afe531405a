"""Numba, for the loops that touch every value: reading JSON, adding up, merging. It has one door, and this is it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: dict[str, Any] = {"_nrt": False, "error_model": "numpy"}
"""No runtime: nothing here allocates, and counting references would cost more than the work. No division raises."""


def compiled(function: F) -> F:
    """Compile a function, and keep the machine code on disk where some folder can be written."""
    try:
        made: F = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder for the cache: then it compiles at each start
        made = njit(**_OPTIONS)(function)
    return made


def inlined(function: F) -> F:
    """Compile a function into its callers: for what is called per value, and has one caller or few lines."""
    made: F = njit(inline="always", **_OPTIONS)(function)
    return made


def _load(result: Any, kind: ir.Type) -> Any:
    def load(context: Any, array: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            place = builder.bitcast(builder.gep(data, [args[1]]), kind.as_pointer())
            return builder.load(place, align=1)

        return result(array, types.intp), generate

    return load


def _trailing_zeros(context: Any, word: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


load8: Any = intrinsic(_load(types.uint64, ir.IntType(64)))
"""load8(array, at): eight bytes of an array as a word, the first one lowest; the array must reach that far."""

load_double: Any = intrinsic(_load(types.float64, ir.DoubleType()))
"""load_double(array, at): eight bytes of an array as a double; the array must reach that far."""

trailing_zeros: Any = intrinsic(_trailing_zeros)
"""trailing_zeros(word): zero bits below the lowest one of a word that is not zero."""

if sys.byteorder != "little":
    raise ImportError("stream_monitor reads JSON in little-endian words; this machine's are big-endian")
