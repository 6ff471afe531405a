"""What `check` says of receivers and routes."""

from __future__ import annotations

from stream_monitor.config.settings import parse
from stream_monitor.notify.overview import incident_notes, receiver_notes, receiver_problems
from tests.notify.stories import KEY, WEBHOOK, alert


def test_check_says_who_is_told_of_what_and_what_nothing_reaches() -> None:
    quiet = {"from": "20:00", "to": "08:00", "zone": "Europe/Berlin", "below": "critical"}
    rules = parse({"notify": {
        "receivers": {"a": WEBHOOK, "b": WEBHOOK | {"url": "http://hook.example/hunter2", "key": KEY}, "c": WEBHOOK},
        "routes": [
            {"match": {"severity": "critical", "model": ["fraud*", "x"]}, "to": ["a"]},
            {"to": ["b"], "quiet": quiet},
            {"match": {"kind": "drift"}, "to": ["a"]},
        ],
    }})  # fmt: skip
    notes = receiver_notes(rules.notify)
    assert notes[0] == ("notify.receivers.a (webhook) is told of model fraud* or x, severity critical; kind drift")
    assert "everything (quiet what is below critical from 20:00 to 08:00 Europe/Berlin, mon-sun)" in notes[1]
    assert "without encryption" in notes[2] and "is told of nothing" in notes[3]
    assert "hunter2" not in "".join(notes)
    (problem,) = receiver_problems(rules.notify)
    assert problem.startswith("notify.routes.2: nothing reaches it, for notify.routes.1 takes all")
    told = incident_notes(rules, [
        alert("a-1", severity="critical"), alert("b-1", measure="score"), alert("c-1"), alert("c-1", "resolved"),
    ])  # fmt: skip
    assert told == [
        "1 open incident(s) would be told to a: amount of fraud",
        "1 open incident(s) would be told to b: score of fraud",
    ]
    assert receiver_notes(parse({}).notify) == [] and receiver_problems(parse({}).notify) == []
