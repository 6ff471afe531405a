"""How much of a drift each segment adds, with standard errors, and which segment the drift surely comes from.

With p, q the baseline's and the window's shares of all events on a few groups, Δ = q - p, the distance is Σ|Δ| / 2. A
segment s with the shares p_s, q_s of its own values, and the weights w_s, v_s among all values before and now, adds

    own_s = Σ sign(Δ) v_s (q_s - p_s) / 2        its own values changed
    mix_s = Σ sign(Δ) (v_s - w_s) (p_s - p) / 2  its weight changed

to that distance; part_s = (own_s + mix_s) / distance. The standard error is that of a sum of multinomial shares, with
the signs and the distance held fixed (delta method).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stream_monitor.events.contracts import SegmentPart
from stream_monitor.types import F64

SURE = 3.0
"""A segment is named when its part is so many standard errors above 0, above its weight and above the next segment's.
Of some ten segments one exceeds this by chance in about one of a hundred alerts."""
SEPARATOR = ","
"""Between the fields of a segment's name."""
MOST_OF_IT = 0.5
"""A segment with at least this part of a drift is named."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Shares of groups, and of how many values they are."""

    shares: F64
    n: int


@dataclass(frozen=True, slots=True)
class Movement:
    """A segment, or all events, before and now."""

    before: Sample
    now: Sample
    weight: float = 1.0
    """The segment's share of all values before."""


def parts_of(whole: Movement, segments: Sequence[tuple[str, Movement]], factor: float = 1.0) -> list[SegmentPart]:
    """The parts of all segments, the largest first; those that the drift surely comes from are `named`.

    `factor` is the overdispersion f of the counts.
    """
    p, q = whole.before, whole.now
    distance = float(np.abs(q.shares - p.shares).sum()) / 2
    if not distance or not q.n:
        return []
    sign = np.sign(q.shares - p.shares)
    parts = []
    for name, moved in segments:
        after = moved.now.n / q.n
        q_s = moved.now.shares if moved.now.n else moved.before.shares
        level_before, level_now = float(sign @ moved.before.shares), float(sign @ q_s)
        apart = float(sign @ (moved.before.shares - p.shares))
        own, mix = after * (level_now - level_before) / 2, (after - moved.weight) * apart / 2
        own_variance = after**2 * (_spread(sign, q_s, moved.now.n) + _spread(sign, moved.before.shares, moved.before.n))
        rise = level_now - level_before
        of_now, of_before = after * (1 - after) / q.n, moved.weight * (1 - moved.weight) / max(p.n, 1)
        variance = own_variance + (rise + apart) ** 2 * of_now + apart**2 * of_before
        part, own_part, mix_part = (_rounded(x / distance) for x in (own + mix, own, mix))
        error, own_error = (
            _rounded(math.sqrt(factor * x) / 2 / distance) for x in (variance, own_variance + rise**2 * of_now)
        )
        weights = _rounded(moved.weight), _rounded(after)
        parts.append(SegmentPart(name, part, own_part, mix_part, *weights, error, own_error))
    parts.sort(key=lambda part: (-part.part, part.segment))
    _name(parts)
    return parts


def _rounded(figure: float) -> float:
    return round(figure, 6) + 0.0  # which turns -0.0 into 0.0


def _spread(sign: F64, shares: F64, n: int) -> float:
    """The variance of the mean sign of n values; of none it is that of one value."""
    level = float(sign @ shares)
    return max(float(np.square(sign) @ shares) - level * level, 1 / (n + 2)) / max(n, 1)


def _name(parts: Sequence[SegmentPart]) -> None:
    """Name the segment that the drift surely comes from, if there is one.

    It is compared with the other segments of the same fields. A drift that all events share has parts like the weights,
    so the part must be above the weight. Of winners on several fields the one with the largest part is named, and of
    those that are as large within their errors the one with fewer values: the drift is in it, the other contains it.
    """
    by_fields: dict[tuple[str, ...], list[SegmentPart]] = {}
    for part in parts:
        by_fields.setdefault(_fields_of(part.segment), []).append(part)
    winners = [siblings[0] for siblings in by_fields.values() if _is_sure(siblings)]
    if winners:
        first = max(winners, key=lambda part: part.part)
        near = [w for w in winners if first.part - w.part <= SURE * math.hypot(first.error, w.error)]
        chosen = min(near, key=lambda part: (part.now, part.segment))
        if chosen is first or all(_holds(other.segment, chosen.segment) for other in near):
            chosen.named = True


def _is_sure(siblings: Sequence[SegmentPart]) -> bool:
    first = siblings[0]
    if first.part < MOST_OF_IT or first.part < SURE * first.error:
        return False
    if first.part - max(first.now, first.before) < SURE * first.error and len(siblings) > 1:
        return False
    # weights add up to 1, so the errors of two parts are negatively correlated: their sum bounds that of the difference
    return all(first.part - other.part >= SURE * (first.error + other.error) for other in siblings[1:])


def _fields_of(segment: str) -> tuple[str, ...]:
    """The fields that name a segment: (country, device) of `country=DE,device=ios`."""
    return tuple(field.partition("=")[0] for field in segment.split(SEPARATOR))


def _holds(outer: str, inner: str) -> bool:
    """Whether each field of a segment has the same value in another one, which is a part of it then."""
    return set(outer.split(SEPARATOR)) <= set(inner.split(SEPARATOR))
