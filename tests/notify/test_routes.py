"""Routes: the first that matches, `also`, patterns, quiet hours of the less severe, and what nothing reaches."""

from __future__ import annotations

from typing import Any

import pytest

from stream_monitor.config.settings import parse
from stream_monitor.notify.routes import Subject, idle_receivers, recipients, unreachable
from tests.notify.stories import WEBHOOK, settings

THREE = {"a": WEBHOOK, "b": WEBHOOK, "c": WEBHOOK}
NIGHT = {"from": "20:00", "to": "08:00"}


def subject(**given: str) -> Subject:
    usual = Subject("app", "fraud-eu", "7", "country=DE", "amount", "input", "drift", "warning")
    return usual._replace(**given)


@pytest.mark.parametrize(
    ("routes", "about", "told"),
    [
        ([], {}, "a b c"),
        ([{"to": ["b"]}], {}, "b"),
        ([{"match": {"model": "fraud*"}, "to": ["a"]}, {"to": ["b"]}], {}, "a"),
        ([{"match": {"model": "fraud*"}, "to": ["a"], "also": True}, {"to": ["b"]}], {}, "a b"),
        ([{"match": {"model": "Fraud*"}, "to": ["a"]}, {"to": ["b"]}], {}, "b"),
        ([{"match": {"model": ["x", "fraud-??"]}, "to": ["a"]}], {}, "a"),
        ([{"match": {"severity": "critical"}, "to": ["a"]}], {}, ""),
        ([{"match": {"severity": "critical"}, "to": ["a"]}], {"severity": "critical"}, "a"),
        ([{"match": {"severity": ["warning", "critical"], "segment": "country=*"}, "to": ["a", "c"]}], {}, "a c"),
        ([{"match": {"mattered": "worse"}, "to": ["a"]}, {"to": ["b"]}], {"mattered": "worse"}, "a"),
        ([{"match": {"kind": "decision"}, "to": ["a"]}], {"kind": "decision"}, "a"),
        ([{"match": {"app": "other"}, "to": ["a"]}, {"match": {"version": "7"}, "to": ["c"]}], {}, "c"),
        ([{"match": {"model": "*"}, "to": ["a"], "also": True}, {"match": {"measure": "age"}, "to": ["b"]}], {}, "a"),
    ],
)  # fmt: skip
def test_routes(routes: list[Any], about: dict[str, str], told: str) -> None:
    rules = settings(receivers=THREE, routes=routes)
    assert " ".join(found.receiver for found in recipients(rules, subject(**about))) == told


def test_quiet_hours_hold_back_what_is_less_severe_and_no_receiver_that_another_route_tells_at_once() -> None:
    routes = [{"to": ["a"], "quiet": NIGHT | {"below": "critical"}, "also": True}, {"to": ["b"], "quiet": NIGHT}]
    rules = settings(receivers=THREE, routes=routes)
    held = {found.receiver: found.quiet is not None for found in recipients(rules, subject())}
    assert held == {"a": True, "b": True}
    held = {found.receiver: found.quiet is not None for found in recipients(rules, subject(severity="critical"))}
    assert held == {"a": False, "b": True}
    both = settings(receivers=THREE, routes=[{"to": ["a"], "quiet": NIGHT, "also": True}, {"to": ["a"]}])
    assert [found.quiet for found in recipients(both, subject())] == [None]


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ([{"to": ["a"]}, {"match": {"model": "x"}, "to": ["b"]}], [(1, 0)]),
        ([{"to": ["a"], "also": True}, {"match": {"model": "x"}, "to": ["b"]}], []),
        ([{"match": {"model": "f*"}, "to": ["a"]}, {"match": {"model": "fd", "kind": "drift"}, "to": ["b"]}], [(1, 0)]),
        ([{"match": {"model": "f*"}, "to": ["a"]}, {"match": {"model": ["fraud", "x"]}, "to": ["b"]}], []),
        ([{"match": {"model": "fraud", "kind": "drift"}, "to": ["a"]}, {"match": {"model": "fraud"}, "to": ["b"]}], []),
        ([{"match": {"model": "f*"}, "to": ["a"]}, {"match": {"model": "f*d"}, "to": ["b"]}], []),
    ],
)  # fmt: skip
def test_routes_that_nothing_reaches(routes: list[Any], found: list[tuple[int, int]]) -> None:
    assert list(unreachable(settings(receivers=THREE, routes=routes).routes)) == found


def test_receivers_that_no_route_names() -> None:
    assert idle_receivers(settings(receivers=THREE, routes=[{"to": ["a"]}])) == ["b", "c"]
    assert idle_receivers(settings(receivers=THREE)) == []
    assert idle_receivers(parse({}).notify) == []
