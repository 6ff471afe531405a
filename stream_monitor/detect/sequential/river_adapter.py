"""The one door to River: its detectors that take one value at a time, fed with panes and kept in snapshots.

River (Montiel et al. 2021) is optional: `pip install 'stream-monitor[river]'`. Each of its detectors is a struct of
plain numbers here; the live River object is made from it when it is needed and its numbers are written back after every
pane, so that what a snapshot holds goes on exactly as if nothing had been. All run with River's default parameters, and
on panes of one value ring exactly where River's do. After a change they start anew with the next value; a pane says its
first change.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec


def rivers(name: str, **parameters: Any) -> Any:
    """River's own detector by the name of its class. ImportError where River is not installed."""
    from river import drift

    return getattr(drift if hasattr(drift, name) else drift.binary, name)(**parameters)


class PerValue(msgspec.Struct, dict=True):
    """What all have: how many values came since the start."""

    fed: int = 0

    @cached_property
    def live(self) -> Any:
        """River's object; not in snapshots."""
        return self._make()

    def _make(self) -> Any:
        """River's object, from the numbers."""
        raise NotImplementedError

    def _keep(self, live: Any) -> None:
        """The numbers, from River's object."""
        raise NotImplementedError

    def _restart(self) -> None:
        """As River does with its next value after it rang: all numbers as at the start."""
        fresh = type(self)()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        self.__dict__.pop("live", None)
