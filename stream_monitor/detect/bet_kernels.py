"""The loops of bets: a stratum of one rollout costs a microsecond a bet, where calls on arrays cost a hundred."""

from __future__ import annotations

import math
from typing import Any

from stream_monitor.kernels.numba_backend import compiled


@compiled
def add_two_arms(
    primary: Any, candidate: Any, values: Any, mean: Any, variance: Any, lines: Any, effects: Any, kept: float, out: Any
) -> None:
    """Add to `out` (R, L, E) what counts (R, J) add to the logs of bets; lines (3, L): r, d and s."""
    low, high = values[0], values[-1]
    edge = 1e-9 * (high - low)
    for row in range(primary.shape[0]):
        n_a, n_b = primary[row].sum(), candidate[row].sum()
        if n_a <= 0 or n_b <= 0 or variance[row] <= 0:
            continue
        sd = math.sqrt(variance[row])
        for line in range(lines.shape[1]):
            r, d, s = lines[0, line], lines[1, line], lines[2, line]
            share = n_b / (n_a + r * r * n_b)
            for e in range(len(effects)):
                m_a = mean[row] + r * share * s * effects[e] * sd
                m_a = min(max(m_a, low + edge), high - edge)
                m_b = r * m_a + d
                l_b = effects[e] / sd / (1 + r * r * n_b / n_a)
                lost_a = high - m_a if s > 0 else m_a - low
                lost_b = m_b - low if s > 0 else high - m_b
                if lost_b > 0:
                    l_b = min(l_b, kept / lost_b)
                if lost_a > 0:
                    l_b = min(l_b, kept / lost_a * n_a / (r * n_b))
                l_a = r * n_b * l_b / n_a
                won = 0.0
                for j in range(len(values)):
                    if candidate[row, j] > 0:
                        won += candidate[row, j] * math.log1p(s * l_b * (values[j] - m_b))
                    if primary[row, j] > 0:
                        won += primary[row, j] * math.log1p(-s * l_a * (values[j] - m_a))
                out[row, line, e] += won


@compiled
def add_scatter(
    a: Any, b: Any, n_a: Any, n_b: Any, strata: int, hits: Any, expected: Any, filling: Any, sums: Any
) -> None:
    """Take a stratum of R rows into the sums of `bet_dependence.Dependence`; `strata` counts this one, too."""
    for row in range(len(a)):
        total, k = n_a[row] + n_b[row], a[row] + b[row]
        hits[row, 0] += a[row]
        hits[row, 1] += b[row]
        if total > 0:
            expected[row, 0] += n_a[row] * k / total
            expected[row, 1] += n_b[row] * k / total
        z = v = 0.0
        if n_a[row] > 0 and n_b[row] > 0 and total >= 2 and 0 < k < total:
            p_a = min((hits[row, 0] + 1) / (expected[row, 0] + 1) * k / total, 1.0)
            p_b = min((hits[row, 1] + 1) / (expected[row, 1] + 1) * k / total, 1.0)
            of_b, of_a = n_a[row] * n_a[row] * n_b[row], n_b[row] * n_b[row] * n_a[row]
            v = (of_b * p_b * (1 - p_b) + of_a * p_a * (1 - p_a)) / (total * (total - 1.0))
            z = b[row] - n_b[row] * k / total
        for level in range(filling.shape[2]):
            filling[0, row, level] += z
            filling[1, row, level] += v
            if strata % (1 << level) == 0 and filling[1, row, level] > 0:
                of_z, of_v = filling[0, row, level], filling[1, row, level]
                sums[0, row, level] += of_z
                sums[1, row, level] += of_v
                sums[2, row, level] += of_z * of_z / of_v
                sums[3, row, level] += 1
                filling[0, row, level] = filling[1, row, level] = 0.0


@compiled
def factors(sums: Any, expected: Any, drawn: Any, draws: float, given: float, bounds: Any, out: Any) -> None:
    """The dependence factor (R,) of the sums of `bet_dependence.Dependence`; bounds: `ENOUGH`, `UNKNOWN` and `HITS`."""
    enough, unknown, most_hits = bounds
    for row in range(len(out)):
        lumps = 1.0
        if draws > 0:
            phi, error = drawn[row] / draws, math.sqrt(2.0 / draws)
            if phi > 1 + 2 * error:
                lumps = phi * (1 + error)
        f = max(1.0, given) if sums[3, row, 0] >= enough else max(unknown, given)
        if expected[row, 1] < most_hits * lumps:
            f = max(f, lumps)
        for level in range(sums.shape[2]):
            n = sums[3, row, level]
            if n >= enough:
                z, v = sums[0, row, level], sums[1, row, level]
                phi, error = (sums[2, row, level] - z * z / v) / (n - 1), math.sqrt(2.0 / n)
                if level == 0 or phi > 1 + 2 * error:
                    f = max(f, phi * (1 + error))
        out[row] = f
