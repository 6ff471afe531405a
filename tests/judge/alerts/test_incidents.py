"""Alerts of one cause share an incident: over versions, segments, kinds, and measures of one subject."""

from __future__ import annotations

import pytest

from stream_monitor.judge.alerts.incidents import Incidents, subject_of_measure


@pytest.mark.parametrize(
    ("measure", "subject"),
    [
        ("x", "x"), ("length(x)", "x"), ("kind(x)", "x"), ("norm(v)", "v"), ("distance(v)", "v"),
        ("projection_3(v)", "v"), ("error", "label"), ("absolute_error", "label"), ("squared_error", "label"),
        ("bias", "label"), ("relative_error", "label"),
        ("label", "label"), ("null_answer", "prediction"), ("length(prediction)", "prediction"), ("f(x)", "f(x)"),
    ],
)  # fmt: skip
def test_the_subject_of_a_measure(measure: str, subject: str) -> None:
    assert subject_of_measure(measure) == subject


def test_alerts_join_while_one_is_open_and_for_the_wait_after_the_last() -> None:
    incidents = Incidents()
    first = incidents.join("m", "input", "x", 1_000)
    assert incidents.join("m", "input", "length(x)", 2_000) == first
    incidents.leave(first, "input", "x", 3_500)
    assert incidents.join("m", "input", "x", 9_000) == first, "length(x) is still open"
    incidents.leave(first, "input", "length(x)", 10_500)
    incidents.leave(first, "input", "x", 10_600)
    assert incidents.join("m", "input", "x", 10_599) == first
    incidents.leave(first, "input", "x", 11_500)
    assert incidents.join("m", "input", "x", 11_500) != first


def test_measure_groups_models_and_subjects_have_incidents_of_their_own() -> None:
    incidents = Incidents()
    found = {
        incidents.join("m", "input", "x", 1_000), incidents.join("m", "input", "y", 1_000),
        incidents.join("m", "software", "x", 1_001), Incidents().join("n", "input", "x", 1_000),
    }  # fmt: skip
    assert len(found) == 4


def test_an_incident_that_nothing_can_join_any_more_is_forgotten() -> None:
    incidents = Incidents()
    for at in range(1_000):
        joined = incidents.join("m", "input", f"x{at}", at * 1_000)
        incidents.leave(joined, "input", f"x{at}", at * 1_000 + 500)
    assert len(incidents.by_subject) <= 2


def test_an_alert_from_before_there_were_incidents_ends_no_incident_of_another() -> None:
    incidents = Incidents()
    first = incidents.join("m", "input", "length(x)", 1_000)
    incidents.leave("", "input", "x", 2_000)
    assert incidents.join("m", "input", "x", 99_000) == first, "the alert on length(x) is still open"
