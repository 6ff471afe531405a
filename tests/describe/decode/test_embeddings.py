"""Embeddings: a norm and projections of arrays of the declared length; anything else is counted, never an error."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.describe.decode.embeddings import PROJECTIONS, Embeddings, directions
from stream_monitor.errors import SettingsError
from tests.describe.aggregate.test_row_sampling import described
from tests.judge.logs import Recorded, recorded
from tests.streams import T0, quick_settings

LENGTH = 8
FIRST = [0.148955, 0.556602, 0.817317]
"""A projection of yesterday must mean the same today."""


def measured(lengths: dict[str, int], value: Any) -> list[float] | None:
    embeddings = Embeddings(lengths)
    vector = embeddings.vector("v", value)
    return None if vector is None else embeddings.measured("v", vector)


def test_directions_are_unit_vectors_that_never_change() -> None:
    along = directions("text", 384)
    assert along.shape == (PROJECTIONS, 384)
    assert (along * along).sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert np.abs(along @ along.T - np.eye(PROJECTIONS)).max() < 0.25
    assert directions("v", 3)[0].tolist() == FIRST
    assert not np.allclose(directions("w", 3), directions("v", 3))


def test_a_norm_and_projections_are_those_of_the_array() -> None:
    found = measured({"v": 3}, [1, 2.0, -2])
    assert found is not None and found[0] == 3.0
    assert found[1:] == pytest.approx((directions("v", 3) @ np.array([1, 2, -2])).tolist())


@given(
    st.one_of(
        st.none(), st.booleans(), st.text(), st.floats(), st.just({"a": 1}),
        st.lists(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.just(10**400), st.text())),
    )
)  # fmt: skip
def test_what_is_no_embedding_is_none_and_what_is_has_finite_measures(value: Any) -> None:
    found = measured({"v": 2}, value)
    good = isinstance(value, list) and len(value) == 2 and all(type(x) in (int, float) for x in value)
    if found is None:
        assert not good or not all(abs(x) < 1e100 for x in value)
    else:
        assert good and len(found) == 1 + PROJECTIONS and np.isfinite(found).all()


def run_of(change: Any, **sections: Any) -> Recorded:
    """Fifty events a second; from the 3,000th on `change` gives the array."""
    rng, events = random.Random(4), []
    for i in range(5_000):
        vector: Any = [1 + rng.gauss(0, 0.3) for _ in range(LENGTH)]
        features = {"v": vector if i < 3_000 else change(vector), "x": rng.gauss(0, 1)}
        body = {"id": f"e{i}", "model": "m", "ts": T0 + i * 20, "features": features, "prediction": True}
        events.append(("predictions", json.dumps(body).encode()))
    return recorded(quick_settings(embeddings={"v": LENGTH}, baseline={"first": 600}, **sections), events)


def opened(run: Recorded) -> set[tuple[str, str]]:
    return {(alert["measure"], alert["kind"]) for alert in run.alerts if alert["status"] == "open"}


def test_an_embedding_that_grows_changes_its_norm() -> None:
    assert ("norm(v)", "drift") in opened(run_of(lambda vector: [2 * x for x in vector]))


def test_an_embedding_that_turns_changes_its_projections_and_not_its_norm() -> None:
    found = opened(run_of(lambda vector: [-x for x in vector]))
    assert ("norm(v)", "drift") not in found
    assert any(measure.startswith("projection_") for measure, _ in found)


def test_every_second_array_of_another_length_is_a_type_change_of_the_norm_alone() -> None:
    found = opened(run_of(lambda vector: vector[: LENGTH - int(1e9 * vector[0]) % 2]))
    assert ("norm(v)", "quality") in found
    assert not any(measure.startswith("projection_") for measure, _ in found)


def test_norm_and_projections_are_columns_of_the_rows_and_lengths_are_not() -> None:
    events = [{"id": f"e{i}", "model": "m", "ts": T0, "features": {"v": [i, 1.5]}} for i in range(9)]
    rules = quick_settings(embeddings={"v": 2}, sample={"rows": 3})
    [rows] = described([json.dumps(event).encode() for event in events], [4], rules).values()
    assert rows.numbers == ["norm(v)", *(f"projection_{i}(v)" for i in range(PROJECTIONS))] and not rows.texts


def test_without_the_setting_an_array_is_its_length() -> None:
    run = recorded(quick_settings(), [("predictions", json.dumps(
        {"id": "a", "model": "m", "ts": T0, "features": {"v": [1, 2]}, "prediction": True}).encode())])  # fmt: skip
    [metric] = [m for m in run.metrics if m["kind"] == "traffic"]
    assert set(metric["measures"]) >= {"length(v)", "kind(v)"} and "norm(v)" not in metric["measures"]


def test_a_private_feature_is_no_embedding() -> None:
    with pytest.raises(SettingsError, match="embeddings has"):
        quick_settings(embeddings={"v": 3}, privacy={"drop": ["v"]})
