"""Every row of the transition table in the docstring of `judge.alerts.lifecycle`, in its order."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from stream_monitor.config.detection import DetectionSettings
from stream_monitor.events.contracts import Alert, Finding
from stream_monitor.judge.alerts import lifecycle
from stream_monitor.judge.alerts.lifecycle import AlertKey, AlertLifecycle, EvidenceSpan, alert_id
from stream_monitor.judge.detection.evidence import LASTING, PANE

CAUSE = AlertKey("m", "1", "all", "amount", "drift")
MINUTE, HOUR = 60_000, 3_600_000
SETTINGS = DetectionSettings.model_validate({"persistence": 2, "recovery": 2, "cooldown": "2h"})


class Row(NamedTuple):
    """A row of the table: the moments before, the moment, and what must follow."""

    before: str
    moment: str
    state: str
    record: str | None


ROWS = [
    Row("", "h", "open", "open 0"),
    Row("x", "x", "open", "open 0"),
    Row("", "x", "counting", None),
    Row("x.", "x", "counting", None),
    Row("xx..", "long", "idle", None),
    Row("", ".", "idle", None),
    Row("", "?", "idle", None),
    Row("x", ".", "idle", None),
    Row("xy", ".", "counting", None),
    Row("x", "?", "idle", None),
    Row("xy", "?", "counting", None),
    Row("xxx", "k", "open", "update 1"),
    Row("xx", "k", "open", None),
    Row("xxx", "x", "open", None),
    Row("xx.", ".", "idle", "resolved 1"),
    Row("xx.x.", ".", "open", None),
    Row("xx.x...", ".", "idle", "resolved 1"),
    Row("xxyy.", ".", "idle", "resolved 1"),
    Row("xxl", ".", "open", None),
    Row("xxl.", ".", "idle", "resolved 1"),
    Row("xxl", "e", "open", None),
    Row("yyl", ".", "open", None),
    Row("l", "e", "idle", "resolved 1"),
    Row("xx", ".", "open", None),
    Row("hh", ".", "open", None),
    Row("hh.", ".", "idle", "resolved 1"),
    Row("xx.?", ".", "open", None),
    Row("x", "forget", "idle", None),
    Row("xx", "forget", "idle", "resolved 1"),
    Row("xx", "abandon", "idle", "resolved 1"),
]
"""In a window of an hour: `x` drift, `k` drift by another detector, `.` clean, `?` inconclusive. `y` is drift in a
window of a minute, `long` drift in a window that began earlier, `h` an alarm of a detector at a pane; `l` and `e` are
the alarm of a lasting change, and its end."""


def finding(detector: str = "psi") -> Finding:
    return Finding(detector=detector, score=0.2, threshold=0.1, p_value=1e-9)


def apply(book: AlertLifecycle, moment: str, at: int) -> Alert | None:
    end = at * HOUR
    if moment == "forget":
        return book.forget(CAUSE, end)
    if moment == "abandon":
        return next(book.abandon(end, "it is gone"), None)
    size = {"h": PANE, "l": LASTING, "e": LASTING, "y": MINUTE}.get(moment, HOUR)
    findings = {".": [], "e": [], "?": None, "k": [finding("ks")]}.get(moment, [finding()])
    start = end - (3 * HOUR if moment == "long" else HOUR)
    return book.observe(CAUSE, "input", EvidenceSpan(start, end, size), findings, SETTINGS)


def state_of(book: AlertLifecycle) -> str:
    state = book.states.get(alert_id(CAUSE, 0))
    if state is None or (state.opened is None and not state.counting):
        return "idle"
    return "counting" if state.opened is None else "open"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.before or '-'}:{row.moment}")
def test_a_row_of_the_table(row: Row) -> None:
    book = AlertLifecycle()
    for at, moment in enumerate(row.before, 1):
        apply(book, moment, at)
    alert = apply(book, row.moment, len(row.before) + 1)
    assert (None if alert is None else f"{alert.status} {alert.revision}") == row.record
    assert state_of(book) == row.state


def test_the_table_has_no_row_without_a_test() -> None:
    documented = [
        line for line in (lifecycle.__doc__ or "").splitlines() if line.startswith(("| idle", "| count", "| open"))
    ]
    assert len(documented) == 14 and len(ROWS) >= len(documented)
