"""Whether a worker is alive and ready, from its first moment on. Other threads call this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

STARTING_S = 600.0
"""A start takes no longer; that includes compilation, and the wait for a broker."""


class Watched(Protocol):
    """The interface that the endpoints call."""

    def not_ready_reason(self, most: int | None = None) -> str | None:
        """Why the worker is not ready, or lags more than `most` records; None when it is."""

    def hung(self) -> str | None:
        """Why the worker counts as hung; None while it is alive."""


class Health:
    """The health of a loop; before there is one, that of the start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._started = clock, clock()
        self._loop: Watched | None = None

    def follow(self, loop: Watched) -> None:
        """Use the loop's health from now on."""
        self._loop = loop

    def not_ready_reason(self, most: int | None = None) -> str | None:
        """Why the worker is not ready, or lags more than `most` records; None when it is."""
        return "starting" if self._loop is None else self._loop.not_ready_reason(most)

    def hung(self) -> str | None:
        """Why the worker counts as hung; None while it is alive."""
        if self._loop is not None:
            return self._loop.hung()
        spent = self._clock() - self._started
        return f"it has been starting for {spent:.0f} s" if spent > STARTING_S else None
