"""How much windows scatter is known from the windows of the first baseline, of categories as of numbers."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from stream_monitor.baselines.baseline import TALLIES, BaselineBuilder, category_counts
from stream_monitor.detect.windows.overdispersion import Dispersion, DispersionSample
from stream_monitor.judge.model_state import ModelState
from stream_monitor.profiles.bins import BINS
from tests.judge.logs import Recorded
from tests.streams import T0, quick_settings

FIRST, RATE, WINDOW = 900, 4, 10_000
SKIES = ["clear", "cloudy", "fog", "rain", "snow"]


def weather(windows: int) -> list[tuple[str, bytes]]:
    """Four events a second; all of a window have the same sky, and a die that knows of no window."""
    rng, lines, per = random.Random(3), list[tuple[str, bytes]](), RATE * WINDOW // 1_000
    for window in range(windows):
        sky = rng.choice(SKIES)
        for i in range(window * per, (window + 1) * per):
            features = {"sky": sky, "die": rng.choice("123456")}
            body = {"id": f"e{i}", "model": "m", "ts": T0 + i * 1_000 // RATE, "features": features, "prediction": True}
            lines.append(("predictions", json.dumps(body).encode()))
    return lines


def judged(windows: int, batch: int) -> tuple[Recorded, ModelState]:
    run, lines = (
        Recorded(quick_settings(baseline={"first": FIRST}, detection={"min_count": 20, "input": []})),
        weather(windows),
    )
    for at in range(0, len(lines), batch):
        run.feed(lines[at : at + batch])
    return run, run.judge.assignments[0].judge.models["m"].state


def test_categories_that_share_a_cause_are_worth_few_values_before_the_first_window_is_judged() -> None:
    run, state = judged(FIRST // 40 + 2, 40)
    timeline = state.timelines["input"]
    scatter = timeline.dispersion[WINDOW]
    sky, die = scatter.factors([(0, "sky", ""), (0, "die", "")])
    assert sky > 10 and die == 1.0
    assert scatter.n[0, scatter.rows[0, "sky", ""]] >= 20
    assert not [m for m in run.metrics if m.get("measures", {}).get("sky", {}).get("tests")]


def test_a_sky_that_changes_with_every_window_is_no_drift() -> None:
    run, _ = judged(80, 200)
    assert not [a for a in run.alerts if a["measure"] in ("sky", "die") and a["kind"] == "drift"]


@pytest.mark.parametrize("batch", [7, 1_000])
def test_what_is_known_does_not_depend_on_batches(batch: int) -> None:
    known, other = (judged(30, size)[1].timelines["input"].dispersion[WINDOW] for size in (40, batch))
    assert known.rows == other.rows and np.array_equal(known.mean, other.mean) and np.array_equal(known.n, other.n)


def test_the_windows_of_a_baseline_are_those_that_would_have_been_judged() -> None:
    rng, filling = np.random.default_rng(1), BaselineBuilder()
    names = [f"c{i}" for i in range(200)]  # more than a baseline names, so that there is a rest
    windows: list[dict[str, int]] = []
    for pane in range(0, 60_000, 500):
        drawn = rng.integers(0, 1 + rng.integers(1, 200), 50)
        values, counts = np.unique(drawn, return_counts=True)
        row = [names[i] for i in values], counts.tolist(), 52  # of two the names are not known
        filling.add_categories(*row)
        filling.tally(pane, [1_000, 60_000], row)
        windows += [{}] if pane % 1_000 == 0 else []
        for name, count in zip(*row[:2], strict=True):
            windows[-1][name] = windows[-1].get(name, 0) + count
    baseline = filling.finish("first", 60_000, None)
    assert baseline.rest and len(filling.tallies[1_000]) == TALLIES and len(filling.tallies[60_000]) == 1
    base = category_counts(baseline, {}, 0)[0]
    begun, added = Dispersion(), Dispersion()
    begun.begin([(0, "m", "")], base, filling.category_windows(1_000, baseline), (1_000, 30))
    no = np.zeros(1, np.bool_)
    for window in windows[-33:-1]:
        now = category_counts(baseline, window, 104)[1]
        added.add([(0, "m", "")], DispersionSample(base[None], now[None], no, no))
    assert begun.n[0, 0] == added.next_n[0, 0] == 31 and begun.mean.tolist() == added.next_mean.tolist()
    assert filling.category_windows(5_000, baseline).starts.tolist() == []
    assert base.shape == (BINS,)
