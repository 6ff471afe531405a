"""How findings become alerts: persistence, cooldown, severity, recovery, unique ids."""

from __future__ import annotations

import numpy as np

from stream_monitor.baselines.baseline import Baseline
from stream_monitor.config.detection import DetectionSettings
from stream_monitor.events.contracts import Alert, Finding
from stream_monitor.judge.alerts.lifecycle import AlertKey, AlertLifecycle, EvidenceSpan
from stream_monitor.judge.detection.verdicts import control_false_discoveries
from stream_monitor.judge.detection.window_evaluation import MeasureComparison
from stream_monitor.profiles.bins import BINS

CAUSE = AlertKey("m", "1", "all", "amount", "drift")
HOUR = 3_600_000


def drive(says: str, **rules: object) -> list[Alert]:
    """One character an hour: `.` clean, `x` a finding, `X` a far one, `?` neither found nor clean."""
    settings = DetectionSettings.model_validate(rules)
    book, heard = AlertLifecycle(), []
    for at, what in enumerate(says):
        score = {"x": 0.2, "X": 5.0}.get(what)
        findings = [Finding(detector="psi", score=score, threshold=0.1, p_value=1e-9)] if score else None
        findings = [] if what == "." else findings
        heard.append(book.observe(CAUSE, "input", EvidenceSpan(at * HOUR, (at + 1) * HOUR, HOUR), findings, settings))
    return [alert for alert in heard if alert is not None]


def statuses(alerts: list[Alert]) -> list[tuple[str, int]]:
    return [(alert.status, alert.ts // HOUR) for alert in alerts]


def test_a_finding_opens_once_and_is_resolved_after_enough_clean_windows() -> None:
    assert statuses(drive("..xxx...", recovery=2)) == [("open", 3), ("resolved", 7)]


def test_persistence_asks_for_findings_in_a_row() -> None:
    assert statuses(drive("x.x.xxx", persistence=3)) == [("open", 7)]


def test_a_window_in_doubt_neither_opens_nor_resolves() -> None:
    assert statuses(drive("??xx?????", recovery=2)) == [("open", 3)]
    assert statuses(drive("x.?.?..", recovery=2)) == [("open", 1), ("resolved", 7)]
    assert statuses(drive("x?xx", persistence=2)) == [("open", 4)]
    assert not AlertLifecycle().states and drive("???") == []


def test_what_is_not_rejected_is_clean_only_where_nothing_speaks_against_the_tolerance() -> None:
    """Of two tests of a measure the smaller p counts, twice."""
    none, comparisons = np.zeros(BINS, np.int64), []
    for p in (1e-9, 1e-4, 0.024, 0.026, 0.4):
        comparison = MeasureComparison(0, f"m{p}", Baseline("first", 0, 1, {}, 1), none, none, None, evidence={})
        comparison.p, comparison.scores = {"psi": p, "ks": 0.9}, {"psi": 0.2, "ks": 0.1}
        comparisons.append(comparison)
    verdicts = control_false_discoveries(comparisons, DetectionSettings(), 1e-6)
    assert [bool(verdict.findings) for verdict in verdicts] == [True, False, False, False, False]
    assert [verdict.doubtful for verdict in verdicts] == [False, True, True, False, False]


def test_an_alert_that_gets_worse_is_updated_under_the_same_id() -> None:
    alerts = drive("xxXX", cooldown="1h")
    assert [alert.status for alert in alerts] == ["open", "update"]
    assert len({alert.id for alert in alerts}) == 1
    assert [alert.revision for alert in alerts] == [0, 1]


def test_a_flapping_measure_opens_each_time_and_is_one_incident_within_the_cooldown() -> None:
    opened = [alert for alert in drive("x..x..x..x..", cooldown="1d") if alert.status == "open"]
    assert len(opened) == 4 and len({alert.incident for alert in opened}) == 1
    late = [alert for alert in drive("x........x..", cooldown="1h") if alert.status == "open"]
    assert len(late) == len({alert.incident for alert in late}) == 2


def test_cooldown_delays_updates() -> None:
    assert statuses(drive("xX", cooldown="2h")) == [("open", 1)]
    assert statuses(drive("xX", cooldown="1h")) == [("open", 1), ("update", 2)]


def test_each_opening_has_an_id_of_its_own() -> None:
    opened = [alert.id for alert in drive("x..x..", cooldown="0ms") if alert.status == "open"]
    assert len(opened) == len(set(opened)) == 2


def test_a_long_window_that_holds_the_end_of_a_change_neither_delays_the_end_nor_opens_again() -> None:
    """Of ten minutes, and of an hour that slides by ten: the change lasts for the first ten minutes."""
    settings = DetectionSettings.model_validate({"recovery": 1, "cooldown": "1m"})
    finding = [Finding(detector="psi", score=0.2, threshold=0.1, p_value=1e-9)]
    book, step = AlertLifecycle(), HOUR // 6
    moments = [(0, step, finding), (step, 2 * step, []), (0, HOUR, finding), (2 * step, 2 * step + HOUR, finding)]
    told = [book.observe(CAUSE, "input", EvidenceSpan(a, b, b - a), said, settings) for a, b, said in moments]
    opened, resolved, overlap, again = told
    assert opened is not None and resolved is not None and again is not None and overlap is None
    assert [a.status for a in (opened, resolved, again)] == ["open", "resolved", "open"]
    assert opened.id != again.id and (opened.opened_ts, again.opened_ts) == (0, 2 * step)
