"""The one door to River: it feeds panes to River's detectors, which take one value at a time, and snapshots them.

River (Montiel et al. 2021) is optional: `pip install 'stream-monitor[river]'`. Each of its detectors is a struct of
plain numbers here. The adapter makes the live River object from the struct when it is needed, and writes the numbers
back after every pane. So a detector restored from a snapshot continues exactly as the former one would. All run with
River's default parameters. With panes of one value they raise alarms exactly where River's detectors do. After an alarm
they restart with the next value. Of several alarms in a pane the first is published.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec


def rivers(name: str, **parameters: Any) -> Any:
    """Create River's detector of this class name.

    Raises:
        ImportError: River is not installed.
    """
    from river import drift

    return getattr(drift if hasattr(drift, name) else drift.binary, name)(**parameters)


class PerValue(msgspec.Struct, dict=True):
    """The base of all River detectors; `fed` counts the values since the start."""

    fed: int = 0

    @cached_property
    def live(self) -> Any:
        """The River object; it is not in snapshots."""
        return self._make()

    def _make(self) -> Any:
        """Make the River object from the numbers."""
        raise NotImplementedError

    def _keep(self, live: Any) -> None:
        """Read the numbers from the River object."""
        raise NotImplementedError

    def _restart(self) -> None:
        """Reset all numbers to the start, as River does with the next value after an alarm."""
        fresh = type(self)()
        for name in self.__struct_fields__:
            setattr(self, name, getattr(fresh, name))
        self.__dict__.pop("live", None)
