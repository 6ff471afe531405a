"""NaN, Infinity and numbers that no double holds are missing values, whatever writes them and wherever they stand."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.settings import Settings
from stream_monitor.describe.rekey import id_of
from stream_monitor.events.decode import Reject, decode
from stream_monitor.events.json_text import without_non_finite
from stream_monitor.file_replay import role_of
from stream_monitor.verify.expected import Expected
from tests.effort import examples
from tests.judge.logs import recorded
from tests.streams import T0, quick_settings

WORDS = ["NaN", "-NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "1e400", "-1e400", str(10**320)]


def run(lines: list[str], rules: Settings | None = None) -> dict[str, Any]:
    """The measures of all windows of a replay: n, sum and missing."""
    made = recorded(rules or quick_settings(), [(role_of(line.encode())[0], line.encode()) for line in lines], batch=7)
    found: dict[str, Any] = defaultdict(lambda: {"n": 0, "sum": 0.0, "missing": 0})
    for metric in made.metrics:
        if metric["final"] and metric["segment"] == "all" and metric["kind"] == "traffic":
            found["count"] = found.get("count", 0) + metric["count"]
            for name, summary in metric["measures"].items():
                found[name] = {key: found[name][key] + summary.get(key, 0) for key in ("n", "sum", "missing")}
    return found


@pytest.mark.parametrize("word", WORDS)
def test_a_feature_is_missing_and_the_rest_of_the_event_counts(word: str) -> None:
    lines = [
        f'{{"id":"{i}","ts":{T0 + i * 1000},"model":"m","features":{{"x":{word if i % 2 else 1},"y":{i}}},'
        '"prediction":0.5}'
        for i in range(20)
    ]
    found = run(lines)
    assert found["count"] == 20
    assert (found["x"]["n"], found["x"]["missing"]) == (10, 10)
    assert (found["y"]["n"], found["y"]["sum"], found["prediction"]["n"]) == (20, 190, 20)


@pytest.mark.parametrize(
    ("value", "mean"),
    [("2e70", 2e70), ("-0.0", 0.0), ("5e-324", 5e-324), ("9007199254740993", 9007199254740993.0), ("1e-400", 0.0)],
)
def test_numbers_at_the_edge_count(value: str, mean: float) -> None:
    lines = [f'{{"id":"{i}","ts":{T0 + i * 1000},"model":"m","features":{{"x":{value}}}}}' for i in range(20)]
    found = run(lines)["x"]
    assert (found["n"], found["sum"]) == (20, pytest.approx(20 * mean))


@pytest.mark.parametrize("word", WORDS)
def test_answers_scores_latencies_and_parts_of_arrays_are_missing(word: str) -> None:
    template = '{"id":"%d","ts":%d,"model":"m","prediction":%s,"probabilities":%s,"latency_ms":%s,"tags":{"t":%s}}'
    lines = [template % (i, T0 + i * 1000, *[word if i % 4 == k else 1 for k in range(4)]) for i in range(20)]
    lines += [template % (i, T0 + i * 1000, 1, f"[{word}, 0.25]", 1, 1) for i in range(20, 24)]
    found = run(lines, quick_settings(segments=[["t"]]))
    assert found["count"] == 24
    assert [found[name]["n"] for name in ("prediction", "score", "latency_ms")] == [19, 19, 19]
    assert found["score"]["sum"] == 15 + 4 * 0.25
    assert found["null_answer"]["sum"] == 5


def test_an_embedding_with_a_gap_is_missing_and_no_other_type() -> None:
    body = '{"id":"%d","ts":%d,"model":"m","features":{"v":[1.0,%s]}}'
    lines = [body % (i, T0 + i * 1000, "NaN" if i % 2 else "2.0") for i in range(20)]
    found = run(lines, quick_settings(embeddings={"v": 2}))
    assert (found["norm(v)"]["n"], found["norm(v)"]["missing"]) == (10, 10)
    assert "kind(norm(v))" not in found


def test_labels_feedback_and_observations_are_read_alike() -> None:
    assert isinstance(decode("observations", b'{"ts":1,"source":"s","measures":{"a":NaN,"b":1}}'), object)
    assert not isinstance(decode("observations", b'{"ts":1,"source":"s","measures":{"a":NaN,"b":1}}'), Reject)
    feedback = decode("feedback", b'{"id":"a","ts":1,"signals":{"click":NaN,"redo":1}}')
    assert not isinstance(feedback, Reject) and feedback.signals == {"redo": 1}  # type: ignore[union-attr]
    for role, raw in (("labels", b'{"id":"a","label":NaN}'), ("feedback", b'{"id":"a","ts":1,"signals":{"c":nan}}')):
        refused = decode(role, raw)
        assert isinstance(refused, Reject) and refused.reason == "contract"
    assert "NaN" in decode("labels", b'{"id":"a","label":NaN}').error  # type: ignore[union-attr]


def test_the_role_time_and_id_of_a_line_are_found_beside_them() -> None:
    assert role_of(b'{"id":"a","label":1,"ts":5,"x":NaN}') == ("labels", 5)
    assert role_of(b'{"id":"a","signals":{"c":-Infinity},"ts":5}') == ("feedback", 5)
    assert id_of(b'{"label":NaN,"id":"a"}') == b"a"


def test_private_fields_of_a_refused_event_are_redacted_and_the_rest_is_kept() -> None:
    rules = quick_settings(privacy={"drop": ["secret"]})
    kept = rules.privacy.rules().redacted(b'{"features":{"secret":1,"x":NaN}}')
    assert json.loads(kept) == {"features": {"x": None}}


def test_verify_expects_the_same() -> None:
    expected = Expected(quick_settings())
    expected.feed("predictions", 0, 0, T0, b'{"id":"a","ts":%d,"features":{"x":NaN,"y":2}}' % T0)
    (values,) = expected.values.values()
    assert (values["x"].n, values["y"].n, expected.rejected) == (0, 1, {})


texts = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5), st.sampled_from(["NaN", "inf"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@examples(100)
@given(texts, st.booleans())
def test_only_numbers_that_are_not_finite_change(value: Any, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    wanted = json.loads(text, parse_constant=lambda name: None)
    assert json.loads(without_non_finite(text)) == wanted


@pytest.mark.parametrize("raw", [b'{"a":NaNs}', b'{"a":1NaN}', b'{"a" NaN}', b'{"a":"NaN}', b"nannan", b'{"a":--inf}'])
def test_what_is_no_json_stays_none(raw: bytes) -> None:
    assert isinstance(decode("predictions", raw), Reject)


def test_a_fifth_of_nan_rings_as_a_fifth_of_null_does() -> None:
    def stream(word: str) -> list[tuple[str, bytes]]:
        rng = random.Random(5)
        return [
            (
                "predictions",
                b'{"id":"%d","ts":%d,"model":"m","features":{"x":%s,"y":%.3f},"prediction":true}'
                % (
                    i,
                    T0 + i * 100,
                    word.encode() if i >= 400 and rng.random() < 0.4 else b"%.3f" % rng.gauss(5, 1),
                    rng.gauss(0, 1),
                ),
            )
            for i in range(1_200)
        ]

    base = quick_settings().detection.model_dump(mode="json") | {"input": []}
    rules = quick_settings(baseline={"first": 120}, detection=base)
    alerts = {word: recorded(rules, stream(word)).alerts for word in ("NaN", "null", "Infinity")}
    opened = [(a["measure"], a["findings"][0]["detector"]) for a in alerts["NaN"] if a["status"] == "open"]
    assert ("x", "missing") in opened
    assert alerts["NaN"] == alerts["null"] == alerts["Infinity"]
