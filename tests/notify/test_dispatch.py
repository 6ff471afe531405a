"""From alerts to messages: what goes together, what waits, what is told in a digest, and what nobody is told of."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.events.remarks import Acknowledgement, Mute
from stream_monitor.events.rollouts import DecisionName
from stream_monitor.notify import receiver_state as bounds
from stream_monitor.notify.dispatch import Dispatch
from stream_monitor.notify.incidents import Place
from stream_monitor.notify.progress import read_progress
from stream_monitor.notify.receipts import ReceiptBook
from stream_monitor.notify.receiver_state import ReceiverState, decision_of
from tests.effort import examples
from tests.notify.stories import HOUR, MINUTE, SECOND, T0, WEBHOOK, Story, alert, settings

WAIT = 30 * SECOND


def test_what_opens_within_the_wait_is_one_message_and_its_first_line_is_the_reason() -> None:
    story = Story()
    story.publish(alert("a-1"), alert("a-2", segment="country=DE"))
    assert story.told(10 * SECOND) == []
    story.publish(alert("b-1", severity="critical", measure="score"), alert("c-1", model="other"))
    (first,) = story.after(20 * SECOND)
    message = first.notification
    assert message.type == "incident.opened" and [t.incident for t in first.told] == ["b", "a"]
    assert message.text[0] == "fraud 7: amount moved (b-1)" and message.severity == "critical"
    assert "together with: fraud 7: amount moved (a-1)" in message.text
    assert message.link == "https://page.example/#/alerts/b-1"
    assert story.told(10 * SECOND) == ["incident.opened c"]
    assert story.told(HOUR) == []


def test_an_incident_from_its_beginning_to_its_end() -> None:
    story = Story()
    story.publish(alert("a-1"))
    assert story.told(WAIT) == ["incident.opened a"]
    story.publish(alert("a-1", "update"))  # nothing that a person must know
    story.publish(alert("a-2", segment="country=DE"))
    assert story.told(WAIT) == []
    story.publish(alert("a-1", "update", severity="critical"))
    assert story.told(WAIT) == ["incident.worse a"]
    story.publish(alert("a-1", "outcome", error="worse", severity="critical"))
    story.publish(alert("a-1", "outcome", error="worse", severity="critical", revision=1))
    assert story.told(WAIT) == ["incident.outcome a"]
    story.publish(alert("a-1", "resolved"))
    assert story.told(WAIT) == []  # one of its alerts is open
    story.publish(alert("a-2", "resolved", segment="country=DE", ts=T0 + HOUR))
    (notice,) = story.after(WAIT)
    assert (
        notice.notification.type == "incident.resolved"
        and "ended 2027-01-15 09:00 UTC after 1h" in notice.notification.text[1]
    )
    story.publish(alert("a-3"))
    assert story.told(WAIT) == ["incident.opened a"]  # it began again


@pytest.mark.parametrize("groups", [True, False])
def test_an_incident_that_begins_again_at_once_does_not_flap(groups: bool) -> None:
    story = Story(groups=groups)
    story.publish(alert("a-1"))
    assert story.told(WAIT) == ["incident.opened a"]
    story.publish(alert("a-1", "resolved"), alert("a-2"))
    assert story.told(HOUR) == []
    story.publish(alert("a-2", "resolved"))
    assert story.told(WAIT) == ["incident.resolved a"]


def test_a_segment_with_much_of_the_drift_that_joins_is_told() -> None:
    story = Story()
    story.publish(alert("a-1", parts={"country=DE": 0.6, "country=FR": 0.2}))
    assert story.told(WAIT) == ["incident.opened a"]
    story.publish(alert("a-2", segment="country=FR"))
    assert story.told(WAIT) == []
    story.publish(alert("a-3", segment="country=DE"))
    assert story.told(WAIT) == ["incident.worse a"]


def test_an_incident_that_ends_within_the_wait_is_one_message() -> None:
    story = Story()
    story.publish(alert("a-1"), alert("a-1", "resolved", ts=T0 + MINUTE))
    (notice,) = story.after(WAIT)
    assert notice.notification.type == "incident.opened" and notice.notification.incident is not None
    assert notice.notification.incident.ended_ts == T0 + MINUTE
    assert story.told(HOUR) == []


def test_silence_is_named_so() -> None:
    story = Story()
    story.publish(alert("a-1", kind="silence"))
    assert story.told(WAIT) == ["silence a"]


@pytest.mark.parametrize(("outcome", "told"), [
    ("unchanged", []), ("better", []), ("worse", ["incident.opened a"]), ("undecided", ["incident.opened a"]),
])  # fmt: skip
def test_drift_without_harm_wakes_nobody_who_has_asked_for_that(outcome: str, told: list[str]) -> None:
    story = Story(settings(receivers={"team": WEBHOOK | {"matters": True}}))
    story.publish(alert("a-1", error="unknown"))
    assert story.told(5 * HOUR) == []
    story.publish(alert("a-1", "outcome", error=outcome))
    story.publish(alert("a-1", "resolved"))
    assert story.told(HOUR + MINUTE) == told
    assert story.told(10 * HOUR) == []


def test_what_no_label_will_judge_does_not_wait_for_labels() -> None:
    story = Story(settings(receivers={"team": WEBHOOK | {"matters": True}}))
    story.publish(alert("a-1", kind="limit"))
    assert story.told(WAIT) == ["incident.opened a"]
    story.publish(alert("b-1", error="unknown"))
    assert story.told(6 * HOUR) == ["incident.opened b"]  # the labels did not come


NIGHT = {"from": "20:00", "to": "08:00"}
EVENING = T0 - T0 % (24 * HOUR) + 22 * HOUR


def test_quiet_hours_hold_back_and_tell_in_one_digest_at_their_end() -> None:
    story = Story(settings(routes=[{"to": ["team"], "quiet": NIGHT | {"below": "critical"}}]))
    story.now = EVENING
    story.publish(alert("a-1"), alert("b-1", measure="score"), alert("c-1", severity="critical"))
    assert story.told(WAIT) == ["incident.opened c"]
    story.publish(alert("a-1", "resolved"))
    assert story.told(9 * HOUR) == []
    (notice,) = story.after(HOUR)
    digest = notice.notification.digest
    assert digest is not None and (digest.why, digest.opened, digest.ended) == ("quiet", 2, 1)
    assert notice.notification.text[0] == "in the quiet hours: 2 opened, 1 ended"
    assert notice.notification.text[1:3] == [
        "fraud 7: amount moved (b-1) (warning)", "fraud 7: amount moved (a-1) (warning, ended 2027-01-15 08:00 UTC)",
    ]  # fmt: skip
    story.publish(alert("b-1", "resolved"))
    assert story.told(WAIT) == ["incident.resolved b"]


def test_above_the_rate_there_is_one_digest_and_never_more_messages_than_the_rate() -> None:
    story, sent = Story(settings(rate="5 per hour")), list[tuple[int, str]]()
    for i in range(40):
        story.publish(alert(f"i{i}", model=f"m{i}"))
        sent += [(story.now, n.notification.type) for n in story.after(6 * MINUTE)]
    assert [kind for _, kind in sent[:5]] == ["incident.opened"] * 4 + ["digest"]
    for at, _ in sent:
        assert sum(at - HOUR < other <= at for other, _ in sent) <= 5
    sent += [(story.now, n.notification.type) for n in story.after(HOUR)]
    assert not story.state.pending and all(i.told for i in story.state.incidents.values())


def test_old_records_are_told_in_one_digest_when_all_is_read() -> None:
    story = Story()
    story.publish(*(alert(f"i{i}", model=f"m{i}") for i in range(12)), ago=5 * HOUR)
    story.publish(*(alert(f"i{i}", "resolved", model=f"m{i}") for i in range(9)), ago=2 * HOUR)
    assert story.after(WAIT, caught_up=False) == []
    (notice,) = story.after(0)
    assert notice.notification.text[0] == "while nobody told you: 12 opened, 9 ended"
    assert len(notice.notification.text) == 8 and notice.notification.text[6] == "and 7 more"


def test_a_receiver_that_was_down_gets_a_digest_of_what_waited() -> None:
    story = Story()
    story.publish(alert("a-1"), alert("b-1", model="other"))
    (notice,) = story.after(3 * HOUR, step=3 * HOUR)
    assert notice.notification.digest is not None and notice.notification.digest.why == "late"


def test_a_mute_is_obeyed_and_an_incident_that_was_told_still_ends() -> None:
    story = Story()
    mute = Mute(id="m", ts=T0, by="ann", model="fraud", from_ts=T0, until_ts=T0 + HOUR, measure="amount")
    story.remarks.take(b"mute\x1fm", msgspec.json.encode(mute))
    story.publish(alert("a-1"), alert("b-1", measure="score"))
    assert story.told(WAIT) == ["incident.opened b"]
    story.publish(alert("a-1", "update", severity="critical", ts=T0 + 2 * HOUR))
    assert story.told(WAIT) == ["incident.opened a"]  # the mute is over, and it is graver than before
    story.remarks.take(b"mute\x1fm", msgspec.json.encode(msgspec.structs.replace(mute, until_ts=T0 + 9 * HOUR)))
    story.publish(alert("a-1", "resolved", ts=T0 + 3 * HOUR))
    assert story.told(WAIT) == ["incident.resolved a"]
    story.remarks.take(b"mute\x1fm", None)
    assert list(story.remarks.mutes()) == []


def test_a_service_with_incidents_of_its_own_is_told_of_each_alone_and_late_only_of_what_is_open() -> None:
    story = Story(settings(routes=[{"to": ["team"], "quiet": NIGHT}]), groups=False)
    story.now = EVENING
    story.publish(alert("a-1"), alert("b-1", measure="score"), alert("b-1", "resolved", measure="score"))
    assert story.told(10 * HOUR) == ["incident.opened a"]
    story.publish(alert("a-1", "resolved"))
    assert story.told(WAIT) == ["incident.resolved a"]
    story.publish(alert("c-1"), alert("d-1"), alert("d-1", "update", severity="critical"))
    assert story.told(WAIT) == ["incident.opened c", "incident.opened d"]
    story.state.acknowledge(Acknowledgement(incident="c", ts=T0, by="ann"), story.now)
    story.state.acknowledge(Acknowledgement(incident="unknown", ts=T0, by="ann"), story.now)
    assert story.told(0) == ["incident.acknowledged c"]
    story.state.acknowledge(Acknowledgement(incident="c", ts=T0, by="ann"), story.now)
    assert story.told(HOUR) == []


@pytest.mark.parametrize(
    ("decision", "severity"), [("promote_step", "info"), ("hold", "warning"), ("rolled_back", "critical")]
)
def test_a_decision_of_a_rollout_is_told_at_once(decision: DecisionName, severity: str) -> None:
    story = Story(settings(routes=[{"match": {"kind": "decision", "severity": severity}, "to": ["team"]}]))
    raw = {"id": "x", "rollout": "r", "seq": 3, "ts": T0, "decision": decision, "state": "running", "model": "fraud",
           "candidate": "8", "primary": "7", "weights": {"8": 0.5, "7": 0.5}, "reason": "all guards pass",
           "evidence": [], "by": "judge"}  # fmt: skip
    taken = decision_of(msgspec.json.encode(raw))
    story.state.take_decision(taken, Place("decisions", 0, 0), T0, story.now)
    (notice,) = story.after(0)
    assert notice.notification.severity == severity and notice.notification.decision == taken
    assert notice.notification.text[0] == f"rollout r of fraud: {decision.replace('_', ' ')}: all guards pass"


def test_what_is_open_when_a_receiver_is_new_is_told_once() -> None:
    story = Story()
    for offset, record in enumerate([alert("a-1"), alert("b-1"), alert("b-1", "resolved")]):
        story.state.take_alert(record, Place("alerts", 0, offset), T0 - 9 * HOUR, story.now, "past")
    mute = Mute(id="m", ts=T0, by="ann", model="muted", from_ts=T0, until_ts=T0 + HOUR)
    story.remarks.take(b"mute\x1fm", msgspec.json.encode(mute))
    story.state.take_alert(alert("c-1", model="muted"), Place("alerts", 0, 3), T0 - HOUR, story.now, "past")
    story.state.take_start(0, story.now)
    assert story.state.progress("alerts", 0, 4).is_unsent(0)
    (notice,) = story.after(0)
    assert notice.notification.text[0] == "when this receiver was new: 1 open" and [
        t.incident for t in notice.told
    ] == ["a"]
    assert story.state.progress("alerts", 0, 4).unsent == ()


def test_no_more_is_read_while_too_much_waits_and_the_least_severe_incidents_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "MOST_PENDING", 30)
    monkeypatch.setattr(bounds, "MOST_OPEN", 10)
    monkeypatch.setattr(bounds, "MOST_ENDED", 10)
    story = Story(settings(rate="1000 per hour"))
    story.publish(*(alert(f"i{i}", severity="critical" if i == 1 else "info") for i in range(29)))
    assert not story.state.is_full
    story.publish(alert("last"))
    assert story.state.is_full
    story.after(WAIT)
    assert not story.state.is_full
    for i in range(30, 60):
        story.publish(alert(f"i{i}"))
        story.after(WAIT)
    assert len(story.state.incidents) <= 41 and story.state.forgotten > 10 and "i1" in story.state.incidents


def test_what_happens_while_a_message_is_tried_is_told_after_it() -> None:
    story = Story()
    story.publish(alert("a-1"))
    story.now += WAIT
    notice = story.dispatch.next(story.now, caught_up=True)
    assert notice is not None
    story.publish(alert("a-1", "update", severity="critical"))
    story.publish(alert("a-1", "resolved", severity="critical"))
    story.now += 10 * MINUTE
    story.accept(notice)
    assert story.told(0) == ["incident.resolved a"]
    assert story.told(WAIT) == []
    (known,) = story.receipts.known.values()
    assert known.ended and known.severity == "critical"


def test_a_message_has_a_bound_whatever_names_and_reasons_are() -> None:
    story = Story(settings(rate="1000 per hour"))
    story.publish(*(alert(f"i{i}", reason="\u202e" * 5_000, measure="m" * 128) for i in range(60)))
    (notice,) = story.after(WAIT)
    assert len(msgspec.json.encode(notice.notification)) < 64_000 and len(notice.told) == 60


def test_what_waits_on_purpose_waits_no_longer_where_it_would_hold_up_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_PENDING", 10)
    story = Story(settings(routes=[{"to": ["team"], "quiet": NIGHT}]))
    story.now = EVENING
    story.publish(*(alert(f"i{i}") for i in range(9)))
    assert story.told(WAIT) == []
    story.publish(alert("last"))
    (notice,) = story.after(WAIT)
    assert notice.notification.digest is not None and notice.notification.digest.opened >= 9
    assert not story.state.is_full
    late = Story()
    late.publish(*(alert(f"i{i}") for i in range(10)), ago=5 * HOUR)
    (notice,) = late.after(WAIT, caught_up=False)
    assert notice.notification.digest is not None and notice.notification.digest.why == "late"


def records_of(seed: int) -> list[Any]:
    """A random course of some incidents of two models."""
    rng, found, open_ones = random.Random(seed), [], dict[str, str]()
    for step in range(rng.randrange(1, 40)):
        identity = f"{rng.choice('abcd')}{rng.randrange(2)}-{rng.randrange(3)}"
        model = "fraud" if identity[0] in "ab" else "other"
        severity = rng.choice(["info", "warning", "critical"])
        if identity not in open_ones:
            open_ones[identity] = model
            status = "open"
        else:
            status = rng.choice(["update", "resolved", "outcome"])
            if status == "resolved":
                del open_ones[identity]
        error = rng.choice(["worse", "unchanged", "undecided"]) if status == "outcome" else None
        found.append(alert(identity, status, model=model, severity=severity, revision=step, error=error))
    return found


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans(), st.booleans())
@examples(150)
def test_a_restart_at_any_moment_loses_nothing_and_repeats_nothing_that_was_committed(
    course: int, schedule: int, groups: bool, receipts: bool
) -> None:
    """Each restart reads from `low` again, as the committed metadata says, and goes on with what was not sent."""
    rng = random.Random(schedule)
    rules = settings(rate="10000 per hour", routes=[{"to": ["team"], "quiet": NIGHT | {"below": "critical"}}])
    story, ids = Story(rules, groups=groups), list[str]()
    committed: tuple[int, str] = (0, "")
    for record in records_of(course):
        story.publish(record)
        for notice in story.after(rng.choice([SECOND, MINUTE, 5 * HOUR])):
            ids.append(notice.notification.id)
        committed = story.offset, story.state.progress("alerts", 0, story.offset).metadata()
        if rng.random() < 0.4:
            restart(story, committed, receipts)
    for notice in story.after(48 * HOUR):
        ids.append(notice.notification.id)
    assert len(ids) == len(set(ids)), "a message was sent twice"
    assert not story.state.pending
    silent = {i.id for i in story.state.incidents.values() if i.is_open and i.told is None}
    assert silent == set(), "an open incident that nobody was told of"


def restart(story: Story, committed: tuple[int, str], with_receipts: bool) -> None:
    """The same receiver in another process: it has the topic, what was committed, and perhaps its receipts."""
    progress = read_progress(*committed)
    receipts = ReceiptBook("team")
    if with_receipts:
        receipts.sent, receipts.known = story.receipts.sent, dict(story.receipts.known)
    story.receipts = receipts
    story.state = ReceiverState(story.state.terms, story.remarks, receipts)
    story.dispatch = Dispatch(story.state)
    for offset, (record, ts) in enumerate(story.log):
        if offset >= progress.low:
            place = Place("alerts", 0, offset)
            story.state.take_alert(record, place, ts, story.now, "new" if progress.is_unsent(offset) else "told")
