"""Whether a worker lives and is ready, from its first moment on; other threads ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

STARTING_S = 600.0
"""A start takes no longer: what must be compiled, and a broker that is waited for."""


class Watched(Protocol):
    """What the endpoints ask."""

    def not_ready_reason(self, most: int | None = None) -> str | None:
        """Why it is not ready, or lags more than `most` records; None when it is."""

    def hung(self) -> str | None:
        """Why it is taken to hang; None while it is alive."""


class Health:
    """That of a loop, and before there is one that of a start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._started = clock, clock()
        self._loop: Watched | None = None

    def follow(self, loop: Watched) -> None:
        """There is a loop from now on."""
        self._loop = loop

    def not_ready_reason(self, most: int | None = None) -> str | None:
        """Why the worker is not ready, or lags more than `most` records; None when it is."""
        return "starting" if self._loop is None else self._loop.not_ready_reason(most)

    def hung(self) -> str | None:
        """Why the worker is taken to hang; None while it is alive."""
        if self._loop is not None:
            return self._loop.hung()
        spent = self._clock() - self._started
        return f"it has been starting for {spent:.0f} s" if spent > STARTING_S else None
