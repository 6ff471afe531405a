"""Small pictures of an alert for a terminal."""

from __future__ import annotations

from typing import Any

BARS = " ▁▂▃▄▅▆▇█"
COLOURS = {"open": "red", "update": "yellow", "resolved": "green", "outcome": "blue"}
"""By the status of an alert."""


def bars(shares: list[float], top: float) -> str:
    """A row of bars. A bar of the value `top` has full height."""
    return "".join(BARS[min(len(BARS) - 1, round(share / top * (len(BARS) - 1)))] for share in shares)


def picture(alert: dict[str, Any]) -> tuple[str, str] | None:
    """(baseline, now) as bars on the same scale; None where the evidence holds no distribution."""
    for finding in alert.get("findings", ()):
        found = finding.get("evidence", {})
        shares = found.get("bins") or found.get("categories")
        if shares:
            top = max(*shares["baseline"], *shares["now"], 1e-9)
            return bars(shares["baseline"], top), bars(shares["now"], top)
    return None


def thinned(values: list[float], width: int) -> list[float]:
    """At most `width` values; of neighbours that share a place, the largest."""
    if len(values) <= width:
        return values
    cuts = [len(values) * at // width for at in range(width + 1)]
    return [max(values[cuts[at] : cuts[at + 1]]) for at in range(width)]
