"""Rollouts as `rollout status` and `list` print them."""

from __future__ import annotations

import io

import msgspec
import pytest

from stream_monitor.commands.rollout import line_of
from stream_monitor.errors import StreamMonitorError
from stream_monitor.queries.rollouts import RolloutHistory, exit_code, find_rollout, histories_of, summary_of
from stream_monitor.terminal import Screen
from tests.rollouts.routed import PLAN, RoutedReplay, Version, decisions_of

HOSTILE = "\x1b[31mred\u202e"


def histories(*names: str) -> dict[tuple[str, str], RolloutHistory]:
    run = RoutedReplay().run(20, Version(), Version())
    for name in names:
        run.order("start", PLAN.replace("fraud-42", name), rollout=name, reason=HOSTILE)
        run.run(45, Version(), Version())
        run.order("abort", rollout=name, reason="enough")
    return histories_of([*decisions_of(run.outputs), *decisions_of(run.outputs)])


def printed(history: RolloutHistory) -> str:
    text = io.StringIO()
    screen = Screen(file=text, width=200)
    for line in summary_of(history):
        screen.draw(line)
    return text.getvalue()


def test_a_status_names_versions_weights_each_guard_and_what_it_needs() -> None:
    _, history = find_rollout(histories("fraud-42"), "fraud-42", None)
    assert [one.seq for one in history.decisions] == list(range(1, len(history.decisions) + 1))
    text = printed(RolloutHistory(history.decisions[:-1]))
    assert "canary of 42 against 41 of fraud" in text and "20 % since" in text and "running" in text
    assert "error " in text and "null_answer" in text and "of 80" in text and "of 40" in text and "of 20 at" in text
    assert "aborted: enough" in printed(history) and exit_code(history.decisions) == 1
    assert history.weighed is history.last and history.changes[0].decision == "started"


def test_no_text_of_a_rollout_controls_a_terminal() -> None:
    (history,) = histories("fraud-42").values()
    decision = msgspec.structs.replace(history.decisions[0], candidate=HOSTILE, rollout=HOSTILE)
    shown = printed(RolloutHistory([decision])) + line_of(decision)
    assert "\x1b" not in shown and "\u202e" not in shown and "red" in shown


def test_a_record_that_is_no_decision_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    values = [b"{", b"\xff", b"[]", msgspec.json.encode(next(iter(histories("r").values())).decisions[0]), b""]
    ((key, history),) = histories_of(values).items()
    assert key == ("fraud", "r") and len(history.decisions) == 1 and caplog.text.count("is no decision") == 4


def test_a_name_that_is_unknown_or_not_unique_is_explained() -> None:
    known = histories("fraud-42")
    with pytest.raises(StreamMonitorError, match="did you mean 'fraud-42'"):
        find_rollout(known, "fraud-4", None)
    with pytest.raises(StreamMonitorError, match="no rollout was ever started"):
        find_rollout({}, "fraud-42", None)
    both = known | {("other", "fraud-42"): next(iter(known.values()))}
    with pytest.raises(StreamMonitorError, match="--model"):
        find_rollout(both, "fraud-42", None)
    assert find_rollout(both, "fraud-42", "other")[0] == "other"
