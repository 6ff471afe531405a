"""Baselines of the first values hold as many as was asked for, whatever a measure's values are."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from stream_monitor.baseline.show import active
from stream_monitor.config.settings import parse
from tests.judge.logs import recorded

T0, FIRST, BATCH = 1_780_000_000_000, 400, 20
RULES = parse({"baseline": {"first": FIRST}, "time": {"pane": "10s", "windows": ["1m"]}})


@pytest.mark.parametrize("answers", [[True, False], ["cat", "dog", "cow"], ["true", "false", "mixed"], [1.5, 2.5, 4.0]])
def test_a_label_counts_once_whether_it_is_a_number_a_category_or_both(answers: list[Any]) -> None:
    rng, events = random.Random(3), list[tuple[str, bytes]]()
    for at in range(2 * FIRST):
        ts = T0 + 1_000 * at
        event = {"id": f"{at}", "model": "m", "ts": ts, "prediction": rng.choice(answers)}
        label = {"id": f"{at}", "ts": ts + 1_000, "label": rng.choice(answers)}
        events += [("predictions", json.dumps(event).encode()), ("labels", json.dumps(label).encode())]
    (made,) = active(recorded(RULES, events, batch=BATCH).notices)
    (baseline,) = [measure.baseline for measure in made.measures if measure.measure == "label"]
    assert FIRST <= baseline.n <= FIRST + 10, "and what is left of the pane"
