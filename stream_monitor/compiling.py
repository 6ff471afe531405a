"""Numba, for the two loops that touch every value: reading JSON and adding up. It has one door, and this is it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

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
