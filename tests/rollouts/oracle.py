"""Bets, value by value, as the formulas say: what the code on arrays must equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

EFFECTS = [0.0125 * 2**k for k in range(8)]
PRIOR = [weight / 14 for weight in (1, 1, 2, 3, 3, 2, 1, 1)]
KEPT = 0.95
"""The most that a factor may lose."""


def two_arms(
    primary: Sequence[float],
    candidate: Sequence[float],
    values: Sequence[float],
    usual: tuple[float, float],
    line: tuple[float, float, int],
) -> list[float]:
    """What a stratum adds to the log of each bet on one line (r, d, s); `usual` is mean and variance."""
    n_a, n_b = sum(primary), sum(candidate)
    mean, variance = usual
    r, d, s = line
    if not n_a or not n_b or not variance:
        return [0.0] * len(EFFECTS)
    sd, low, high, gains = math.sqrt(variance), values[0], values[-1], []
    edge = 1e-9 * (high - low)
    for effect in EFFECTS:
        m_a = mean + r * s * effect * sd * n_b / (n_a + r * r * n_b)
        m_a = min(max(m_a, low + edge), high - edge)
        m_b = r * m_a + d
        l_b = effect / sd / (1 + r * r * n_b / n_a)
        lost_b = m_b - low if s > 0 else high - m_b
        lost_a = high - m_a if s > 0 else m_a - low
        if lost_b > 0:
            l_b = min(l_b, KEPT / lost_b)
        if lost_a > 0:
            l_b = min(l_b, KEPT / lost_a * n_a / (r * n_b))
        l_a = r * n_b * l_b / n_a
        of_b = sum(b * math.log1p(s * l_b * (g - m_b)) for b, g in zip(candidate, values, strict=True) if b)
        of_a = sum(a * math.log1p(-s * l_a * (g - m_a)) for a, g in zip(primary, values, strict=True) if a)
        gains.append(of_b + of_a)
    return gains


def one_sample(counts: Sequence[float], values: Sequence[float], variance: float, s: int) -> list[float]:
    """What a sample adds to the log of each bet that s · mean > 0."""
    gains, worst = [], max(0.0, max(-s * x for x in values))
    for effect in EFFECTS:
        stake = effect / math.sqrt(variance)
        if worst > 0:
            stake = min(stake, KEPT / worst)
        gains.append(sum(c * math.log1p(s * stake * x) for c, x in zip(counts, values, strict=True) if c))
    return gains


def log_mixture(log_bets: Sequence[float], f: float) -> float:
    """Log of the mixture, the log of each bet divided by f."""
    top = max(log_bets) / f
    return top + math.log(sum(p * math.exp(log / f - top) for p, log in zip(PRIOR, log_bets, strict=True)))


def contrast(hits: tuple[int, int], n: tuple[int, int], ratio: tuple[float, float]) -> tuple[float, float]:
    """Hits of the candidate less the expected ones, and the variance of that."""
    (a, b), (n_a, n_b) = hits, n
    total, k = n_a + n_b, a + b
    if not n_a or not n_b or total < 2 or k in (0, total):
        return 0.0, 0.0
    p_a, p_b = (min(arm * k / total, 1.0) for arm in ratio)
    variance = n_a**2 * n_b * p_b * (1 - p_b) + n_b**2 * n_a * p_a * (1 - p_a)
    return b - n_b * k / total, variance / (total * (total - 1))


class Factor:
    """The dependence factor of one run, stratum by stratum."""

    def __init__(self) -> None:
        self.hits, self.expected, self.drawn, self.strata = [0, 0], [0.0, 0.0], 0.0, 0
        self.open = [[0.0, 0.0] for _ in range(4)]
        self.blocks: list[list[tuple[float, float]]] = [[], [], [], []]

    def take(self, hits: tuple[int, int], n: tuple[int, int], weight: float) -> None:
        total, k = sum(n), sum(hits)
        self.hits = [old + new for old, new in zip(self.hits, hits, strict=True)]
        self.expected = [old + arm * k / max(total, 1) for old, arm in zip(self.expected, n, strict=True)]
        a, b = ((seen + 1) / (meant + 1) for seen, meant in zip(self.hits, self.expected, strict=True))
        z, v = contrast(hits, n, (a, b))
        self.strata += 1
        for level, block in enumerate(self.open):
            block[0], block[1] = block[0] + z, block[1] + v
            if self.strata % 2**level == 0 and block[1] > 0:
                self.blocks[level].append((block[0], block[1]))
                self.open[level] = [0.0, 0.0]
        self.drawn += (n[1] - total * weight) ** 2 / max(total * weight * (1 - weight), 1e-9)

    def factor(self) -> float:
        f = 1.0 if len(self.blocks[0]) >= 8 else 20.0
        phi, error = self.drawn / self.strata, math.sqrt(2 / self.strata)
        lumps = phi * (1 + error) if phi > 1 + 2 * error else 1.0
        if self.expected[1] < 30 * lumps:
            f = max(f, lumps)
        for level, blocks in enumerate(self.blocks):
            if len(blocks) < 8:
                continue
            z, v = sum(block[0] for block in blocks), sum(block[1] for block in blocks)
            phi = (sum(block[0] ** 2 / block[1] for block in blocks) - z * z / v) / (len(blocks) - 1)
            error = math.sqrt(2 / len(blocks))
            if level == 0 or phi > 1 + 2 * error:
                f = max(f, phi * (1 + error))
        return f
