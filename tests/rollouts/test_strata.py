from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.config.durations import HOUR
from stream_monitor.rollouts.strata import Arms, GrainLabels, InputStratum, LabelStratum, PaneMerger
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.effort import examples

RATES = np.array([0.0, 1.0])
counts = st.tuples(*[st.integers(0, 12)] * 4)


def pane(at: int, of: tuple[int, ...], size: int = 60_000) -> InputStratum:
    a, b = np.array([of[:2]], np.float64), np.array([of[2:]], np.float64)
    return InputStratum(at * size, (at + 1) * size, Arms(RATES, a, b))


def merged(panes: list[InputStratum], merger: PaneMerger) -> Iterator[InputStratum]:
    for one in panes:
        yield from merger.add(one)


@examples(60)
@given(st.lists(counts, max_size=80), st.integers(0, 80))
def test_panes_are_merged_until_there_is_enough_and_nothing_is_lost(of: list[tuple[int, ...]], at: int) -> None:
    panes, merger = [pane(i, one) for i, one in enumerate(of)], PaneMerger()
    early = list(merged(panes[:at], merger))
    merger = unpack(pack(merger), PaneMerger)
    strata = [*early, *merged(panes[at:], merger)]
    for stratum in strata:
        a, b = float(stratum.arms.primary.sum()), float(stratum.arms.candidate.sum())
        assert (a and b and a + b >= 20) or stratum.end - stratum.start > HOUR - 60_000
        assert stratum.end - stratum.start <= HOUR
    rest = list(merger.cut())
    assert not list(merger.cut())
    total = sum((one.arms.primary.sum() + one.arms.candidate.sum() for one in [*strata, *rest]), 0.0)
    assert total == sum(map(sum, of))


def test_other_bins_begin_another_stratum() -> None:
    merger, other = PaneMerger(), np.array([0.0, 2.0])
    assert not list(merger.add(pane(0, (3, 0, 1, 0))))
    again = pane(1, (3, 0, 1, 0))
    (first,) = merger.add(again._replace(arms=again.arms._replace(values=other)))
    assert first.end == 60_000 and next(merger.cut()).start == 60_000


def label(grain: int, age: int, of: tuple[int, ...]) -> LabelStratum:
    return LabelStratum(
        grain, grain + 10, age, Arms(RATES, np.array([of[:2]], np.float64), np.array([of[2:]], np.float64))
    )


def test_a_grain_settles_once_with_all_labels_up_to_that_age() -> None:
    grains, predictions = GrainLabels(1), np.array([[50.0, 9.0]])
    assert grains.add(label(0, 0, (30, 1, 4, 1)), predictions) is None
    assert grains.add(label(10, 0, (5, 5, 5, 5)), predictions) is None
    settled = grains.add(label(0, 1, (10, 2, 1, 0)), predictions)
    assert settled is not None and settled.arms.primary.tolist() == [[40, 3]]
    assert settled.arms.candidate.tolist() == [[5, 1]] and settled.predictions is predictions
    assert grains.add(label(0, 2, (1, 1, 1, 1)), predictions) is None, "what comes later is not counted twice"
    assert list(grains.waiting) == [10]
