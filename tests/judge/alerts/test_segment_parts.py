"""Which segment is named, over planted changes, structures of segments, and sizes of windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stream_monitor.judge.alerts.segment_parts import Movement, Sample, parts_of
from stream_monitor.types import F64, I64

GROUPS = 10
STRUCTURES = {"even": [1, 1, 1], "one large": [10, 2, 2, 1, 1, 1], "many": [1 + i % 5 for i in range(20)]}
SIZES = [(200, 500), (2_000, 2_000), (20_000, 10_000)]
"""(values of the window, values of the baseline)."""


def sample(counts: I64) -> Sample:
    return Sample(counts / max(int(counts.sum()), 1), int(counts.sum()))


def named(
    seed: int, weights: Sequence[float], sizes: tuple[int, int], shift: float, moved: Sequence[int], field: str = "c"
) -> list[str]:
    """The named segments where `moved` ones have shifted values. Baselines of segments are of other events."""
    rng, (n, m) = np.random.default_rng(seed), sizes
    weight: F64 = np.array(weights) / sum(weights)
    calm = np.full(GROUPS, 1 / GROUPS)
    drifted = calm * np.repeat([1 - shift, 1 + shift], GROUPS // 2)
    before_n, now_n = rng.multinomial(m, weight), rng.multinomial(n, weight)
    before = [rng.multinomial(size, calm) for size in before_n]
    own = [rng.multinomial(size, calm) for size in before_n]
    now = [rng.multinomial(size, drifted if i in moved else calm) for i, size in enumerate(now_n)]
    segments = [
        (f"{field}={i}", Movement(sample(own[i]), sample(now[i]), float(before_n[i] / m))) for i in range(len(weights))
    ]
    parts = parts_of(Movement(sample(np.sum(before, axis=0)), sample(np.sum(now, axis=0))), segments)
    return [part.segment for part in parts if part.named]


@pytest.mark.parametrize("weights", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("shift", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("moved", [0, 2])
def test_no_wrong_segment_is_named(weights: Sequence[float], sizes: tuple[int, int], shift: float, moved: int) -> None:
    for seed in range(20):
        assert named(seed, weights, sizes, shift, [moved]) in ([], [f"c={moved}"])


@pytest.mark.parametrize(
    ("weights", "sizes", "shift"),
    [([1, 1, 1], (2_000, 2_000), 0.5), ([10, 2, 2, 1, 1, 1], (2_000, 2_000), 0.5), ([1, 1, 1], (20_000, 10_000), 0.2)],
)
def test_a_clear_change_of_one_segment_is_named(weights: Sequence[float], sizes: tuple[int, int], shift: float) -> None:
    assert sum(named(seed, weights, sizes, shift, [0]) == ["c=0"] for seed in range(20)) >= 18


@pytest.mark.parametrize("weights", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("shift", [0.0, 0.2, 0.9])
def test_a_change_of_all_events_is_no_segments(weights: Sequence[float], sizes: tuple[int, int], shift: float) -> None:
    """Nor is one that segments share alike. Two names in 400 would be chance at three standard errors."""
    everything = range(len(weights))
    assert sum(bool(named(seed, weights, sizes, shift, everything)) for seed in range(20)) <= 1
    assert sum(bool(named(seed, [1, 1, 1], sizes, shift, [0, 1])) for seed in range(20)) <= 1


def movement(before: float, now: float, n: int, weight: float) -> Movement:
    shares = (np.array([before, 1 - before]), np.array([now, 1 - now]))
    return Movement(Sample(shares[0], n), Sample(shares[1], n), weight)


def test_of_a_segment_and_the_one_that_holds_it_the_smaller_is_named() -> None:
    """All is in iOS of Germany, so Germany has all of it, too; devices share it unevenly."""
    segments = [
        ("country=DE", movement(0.1, 0.3, 1_000, 0.5)),
        ("country=FR", movement(0.1, 0.1, 1_000, 0.5)),
        ("country=DE,device=ios", movement(0.1, 0.5, 500, 0.25)),
        ("country=DE,device=web", movement(0.1, 0.1, 500, 0.25)),
        ("country=FR,device=ios", movement(0.1, 0.1, 500, 0.25)),
        ("country=FR,device=web", movement(0.1, 0.1, 500, 0.25)),
    ]
    parts = parts_of(movement(0.1, 0.2, 2_000, 1.0), segments)
    assert [part.segment for part in parts if part.named] == ["country=DE,device=ios"]
    assert all(part.error > 0 and part.own_error > 0 for part in parts)


def of_hits(before: tuple[int, int], now: tuple[int, int], weight: float = 1.0) -> Movement:
    """Hits and other values: (hits, values) before and now."""
    first, second = (Sample(np.array([hits / n, 1 - hits / n]), n) for hits, n in (before, now))
    return Movement(first, second, weight)


def test_the_error_of_a_part_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(3)
    parts, errors = [], []
    for _ in range(400):
        n = int(rng.binomial(600, 0.5))
        before = [int(rng.binomial(500, 0.1)) for _ in range(2)]
        now = [int(rng.binomial(n, 0.4)), int(rng.binomial(600 - n, 0.1))]
        segments = [
            ("c=0", of_hits((before[0], 500), (now[0], n), 0.5)),
            ("c=1", of_hits((before[1], 500), (now[1], 600 - n), 0.5)),
        ]
        found = parts_of(of_hits((sum(before), 1_000), (sum(now), 600)), segments)
        calm = next(part for part in found if part.segment == "c=1")
        parts.append(calm.part)
        errors.append(calm.error)
    assert float(np.std(parts)) == pytest.approx(float(np.mean(errors)), rel=0.25)
