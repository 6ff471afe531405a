"""Rollouts over the past: the verdicts of a rollout that somebody else routes, and of one that began then."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import yaml
from typer.testing import CliRunner, Result

from stream_monitor.cli.main import app as command_line
from stream_monitor.errors import SettingsError, StreamMonitorError
from stream_monitor.file_replay import BATCH, Replay
from stream_monitor.rollouts.past import PastRollout, PastVerdict
from tests.rollouts.routed import PLAN, RoutedReplay, Version
from tests.streams import T0, quick_settings

SAME, WORSE = Version(), Version(error=0.4)
EXTERNAL = PLAN.replace("steps: [{weight: 20%, for: 30s, margins: 4}, {weight: 50%, for: 30s}]", "steps: external")
BEGIN = T0 + 40_000


def routed(*parts: tuple[int, Version], labels: bool = True) -> list[tuple[str, bytes]]:
    """Requests that somebody routes by a weight of their own: so many seconds of a candidate, one after the other."""
    run = RoutedReplay()
    run.router.weight = 0.3
    return [line for seconds, like in parts for _ in range(seconds) for line in run.lines(SAME, like, labels)]


def over(lines: list[tuple[str, bytes]], text: str = PLAN, since: int | None = None, batch: int = BATCH) -> PastVerdict:
    """The verdict of a rollout over events."""
    past = PastRollout(text.encode(), "rollout.yaml", since)
    replay = Replay(quick_settings(), lambda output: None, past=past)
    for at in range(0, len(lines), batch):
        replay.feed(lines[at : at + batch])
    replay.finish()
    return past.verdict()


def test_somebody_else_sets_the_weights_and_no_decision_names_one() -> None:
    run = RoutedReplay()
    run.router.weight = 0.3
    run.run(30, SAME, SAME)
    run.order("start", EXTERNAL.replace("50%", "200%"))
    run.run(260, SAME, SAME)
    assert run.names == ["started", "promoted"]
    assert all(decision.weights == {} and not decision.checks for decision in run.decided)
    assert run.router.weight == 0.3 and run.changes[-1].reason.startswith("every guard within 1 margin after ")


def test_harm_stops_a_rollout_whose_weights_somebody_else_sets() -> None:
    run = RoutedReplay()
    run.router.weight = 0.3
    run.run(30, SAME, SAME)
    run.order("start", EXTERNAL)
    run.run(100, SAME, WORSE)
    assert run.names[-1] == "rolled_back" and run.changes[-1].weights == {} and run.router.weight == 0.3


def test_a_good_candidate_would_have_passed_and_a_bad_one_would_have_been_stopped() -> None:
    good, bad = over(routed((250, SAME))), over(routed((100, WORSE)))
    assert (good.verdict, bad.verdict) == ("pass", "harm")
    assert good.begins == bad.begins == T0 and bad.ends < T0 + 90_000
    assert bad.reason.startswith("error is surely worse") and 0 < bad.exposed < 90 * 40 * 0.4
    evidence = {one.guard: one for one in bad.evidence}
    labelled = evidence["error"].candidate
    assert abs(bad.extra_bad["error"] - labelled.n * (0.4 - 0.1)) < 4 * (labelled.n * 0.25) ** 0.5
    assert abs(good.extra_bad["error"]) < 60 and set(good.extra_bad) == {"error", "null_answer"}
    assert not good.still_needs and not bad.still_needs


def test_what_a_live_rollout_stops_is_stopped_over_the_past_at_the_same_time() -> None:
    live = RoutedReplay().run(30, SAME, SAME)
    live.order("start", PLAN)
    live.run(150, SAME, WORSE)
    assert live.names[-1] == "rolled_back"
    lines = [item for item in live.log if isinstance(item, tuple)]
    found = over(lines, since=live.changes[0].ts)
    assert (found.verdict, found.begins, found.ends) == ("harm", live.changes[0].ts, live.changes[-1].ts)
    assert (found.exposed, found.reason) == (live.changes[-1].exposed, live.changes[-1].reason)


@pytest.mark.parametrize("since", [None, BEGIN])
@pytest.mark.parametrize("candidate", [SAME, WORSE])
def test_the_batches_do_not_affect_a_verdict(candidate: Version, since: int | None) -> None:
    lines = routed((150, candidate))
    whole = over(lines, since=since)
    assert whole.begins == (T0 if since is None else since)
    for size in (333, 4_000):
        assert msgspec.json.encode(over(lines, since=since, batch=size)) == msgspec.json.encode(whole)


def test_without_a_verdict_it_says_what_a_pass_would_still_need() -> None:
    found = over(routed((60, SAME)), EXTERNAL.replace("margin: 50%", "margin: 10%"))
    assert found.verdict == "none" and found.still_needs.keys() >= {"error"}
    assert found.ends == T0 + 60_000 and found.exposed > 500 and found.evidence[0].candidate.n > 300
    needs = found.still_needs["error"]
    assert needs is None or needs > 0


def test_without_labels_it_says_what_a_pass_would_have_waited_for() -> None:
    found = over(routed((100, SAME), labels=False), PLAN.replace("5m", "30s"))
    assert (found.verdict, found.holds, found.still_needs["error"]) == ("none", ["no_labels"], None)


def test_harm_in_the_watch_is_harm() -> None:
    found = over(routed((250, SAME), (100, Version(null=0.5))), PLAN + "watch: {for: 10m}\n")
    assert [one.decision for one in found.decisions] == ["started", "promoted", "rolled_back"]
    assert found.decisions[1].ts == T0 + 220_000 and found.verdict == "harm"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PLAN.replace("model: fraud", "model: fruad"), "no prediction of a model 'fruad' came; did you mean 'fraud'"),
        (PLAN.replace('"42"', '"43"'), "by version '43' came; did you mean '42'"),
        (PLAN.replace('"41"', "other"), "by version 'other' came; versions that came: 41, 42"),
    ],
)
def test_a_model_or_a_version_that_never_came_is_told(text: str, told: str) -> None:
    with pytest.raises(StreamMonitorError, match=told):
        over(routed((20, SAME)), text)


def test_a_file_that_is_no_rollout_is_refused_before_any_event_is_read() -> None:
    for text in ("steps: [", "model: m\n", PLAN.replace("guards", "guard"), EXTERNAL.replace("external", "extrenal")):
        with pytest.raises(SettingsError, match=r"rollout\.yaml"):
            PastRollout(text.encode(), "rollout.yaml")
    with pytest.raises(SettingsError, match="the word external"):
        PastRollout(EXTERNAL.replace("external", "extrenal").encode(), "rollout.yaml")


# --- the command line ---


def replayed(folder: Path, events: list[tuple[str, bytes]], *arguments: str, text: str = PLAN) -> Result:
    """`replay --rollout` over the events of a run, predictions and labels in two files."""
    settings = folder / "app.yaml"
    settings.write_text(yaml.safe_dump(quick_settings().model_dump(mode="json", exclude_unset=True)))
    rollout = folder / "rollout.yaml"
    rollout.write_text(text)
    files = []
    for role in ("predictions", "labels"):
        path = folder / f"{role}.ndjson"
        lines = [(json.loads(raw)["ts"], raw) for of, raw in events if of == role]
        path.write_bytes(b"".join(raw + b"\n" for _, raw in sorted(lines)))
        files.append(str(path))
    options = ["replay", *files, "-c", str(settings), "--rollout", str(rollout), *arguments]
    return CliRunner().invoke(command_line, options, env={"COLUMNS": "160"})


def test_the_command_prints_when_a_bad_candidate_would_have_been_stopped(tmp_path: Path) -> None:
    done = replayed(tmp_path, routed((100, WORSE)))
    assert done.exit_code == 1
    assert "would have been stopped at" in done.stdout and "error is surely worse" in done.stdout
    assert "exposed: " in done.stdout and "null_answer" in done.stdout and "extra bad" in done.stdout
    assert '"topic"' not in done.stdout


def test_the_command_prints_when_a_good_candidate_would_have_passed(tmp_path: Path) -> None:
    done = replayed(tmp_path, routed((250, SAME)))
    assert done.exit_code == 0 and "would have passed at" in done.stdout and "no verdict" not in done.stdout


def test_the_command_prints_what_a_pass_still_needs(tmp_path: Path) -> None:
    done = replayed(tmp_path, routed((60, SAME)), text=PLAN.replace("margin: 50%", "margin: 10%"))
    assert done.exit_code == 0 and "no verdict by" in done.stdout and "to pass, error needs" in done.stdout


def test_the_command_gives_one_object_and_begins_when_it_is_told(tmp_path: Path) -> None:
    done = replayed(tmp_path, routed((150, WORSE)), "--json", "--since", "2023-11-14T22:14:00")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["verdict"] == "harm" and found["begins"] == found["decisions"][0]["ts"] == BEGIN
    assert found["ends"] > BEGIN + 10_000 and {one["guard"] for one in found["evidence"]} == {"error", "null_answer"}


def test_segments_that_the_app_does_not_have_are_refused(tmp_path: Path) -> None:
    done = replayed(tmp_path, routed((5, SAME)), text=PLAN + "segments: [city]\n")
    assert isinstance(done.exception, SettingsError) and "city" in str(done.exception)


@pytest.mark.parametrize("arguments", [["--since", "2026-01-01"], ["--json"]])
def test_options_of_a_rollout_need_one(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "events.ndjson").write_text("{}\n")
    done = CliRunner().invoke(command_line, ["replay", str(tmp_path / "events.ndjson"), *arguments])
    assert done.exit_code != 0 and "--rollout" in done.output


@pytest.mark.parametrize("command", ["replay", "rejudge"])
def test_help_teaches_a_rollout_by_an_example(command: str) -> None:
    done = CliRunner().invoke(command_line, [command, "--help"], env={"COLUMNS": "200"})
    assert "--rollout fraud-42.yaml" in done.output and "Exits with 1 for harm" in " ".join(done.output.split())
