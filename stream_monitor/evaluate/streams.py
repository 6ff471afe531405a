"""Named streams without change, and changes of them. A stream gives arrays (T, R): R independent runs side by side."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import signal

from stream_monitor.types import F64, Bool

Rng = np.random.Generator
Source = Callable[[int], F64]
"""The next T values of all runs, (T, R)."""


def seeded(seed: int, *cell: object) -> Rng:
    """A generator of this cell's own."""
    return np.random.default_rng([seed, zlib.crc32(repr(cell).encode())])


def errors(p: float) -> Callable[[Rng, int], Source]:
    """Independent errors of rate p."""
    return lambda rng, rows: lambda count: (rng.random((count, rows)) < p).astype(float)


def normal(rng: Rng, rows: int) -> Source:
    """Independent standard normals."""
    return lambda count: rng.normal(size=(count, rows))


def lognormal(sigma: float) -> Callable[[Rng, int], Source]:
    """Heavy to the right."""
    return lambda rng, rows: lambda count: rng.lognormal(sigma=sigma, size=(count, rows))


def student(degrees: float) -> Callable[[Rng, int], Source]:
    """Heavy on both sides; with 2 degrees of freedom without a variance."""
    return lambda rng, rows: lambda count: rng.standard_t(degrees, size=(count, rows))


def autoregressive(r: float) -> Callable[[Rng, int], Source]:
    """Dependent normals of variance 1: correlation r from value to value."""

    def make(rng: Rng, rows: int) -> Source:
        state = r * rng.normal(size=(1, rows))

        def following(count: int) -> F64:
            nonlocal state
            noise = rng.normal(size=(count, rows))
            values, state = signal.lfilter([np.sqrt(1 - r * r)], [1, -r], noise, axis=0, zi=state)
            return np.asarray(values)

        return following

    return make


def slow_level(rng: Rng, rows: int) -> Source:
    """A tenth of the variance is a slow AR(.99) level, the rest noise."""
    level = autoregressive(0.99)(rng, rows)
    return lambda count: np.sqrt(0.1) * level(count) + np.sqrt(0.9) * rng.normal(size=(count, rows))


def daily_sine(per_hour: int, amplitude: float = 0.25) -> Callable[[Rng, int], Source]:
    """Independent normals around a sine with the period of a day of so many values an hour."""

    def make(rng: Rng, rows: int) -> Source:
        seen = 0

        def following(count: int) -> F64:
            nonlocal seen
            at = np.arange(seen, seen + count) / (24 * per_hour)
            seen += count
            return np.asarray(amplitude * np.sin(2 * np.pi * at)[:, None] + rng.normal(size=(count, rows)))

        return following

    return make


NULL: dict[str, Callable[[Rng, int], Source]] = {
    "normal": normal,
    "errors .2": errors(0.2),
    "errors .05": errors(0.05),
    "lognormal(1)": lognormal(1),
    "lognormal(2)": lognormal(2),
    "t(2)": student(2),
    "AR(.5)": autoregressive(0.5),
    "AR(.9)": autoregressive(0.9),
    "slow level": slow_level,
}


@dataclass(frozen=True, slots=True)
class Step:
    """A change: what the stream is before, and what is true after `ramp` values."""

    name: str
    before: str
    size: float
    """The rate after the change where `rate` is given, else a shift in standard deviations."""
    rate: float | None = None
    ramp: int = 0

    def after(self, rng: Rng, rows: int) -> Source:
        """The stream from the change on."""
        same, seen = NULL[self.before](rng, rows), 0

        def following(count: int) -> F64:
            nonlocal seen
            part = np.minimum(np.arange(seen + 1, seen + count + 1) / self.ramp, 1)[:, None] if self.ramp else 1.0
            seen += count
            if self.rate is None:
                return np.asarray(same(count) + self.size * part)
            return (rng.random((count, rows)) < self.rate + (self.size - self.rate) * part).astype(float)

        return following

    @property
    def information(self) -> tuple[float, float]:
        """Kullback-Leibler divergences: before from after, after from before."""
        if self.rate is None:
            return self.size**2 / 2, self.size**2 / 2
        return bernoulli_kl(self.rate, self.size), bernoulli_kl(self.size, self.rate)


def bernoulli_kl(p: float, q: float) -> float:
    """KL(p || q) of two rates."""
    return float(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


STEPS = [
    *(Step(f".2→{after:g}".replace("→0", "→"), "errors .2", after, 0.2) for after in (0.25, 0.3, 0.4, 0.5, 0.1)),
    *(Step(f".05→{after:g}".replace("→0", "→"), "errors .05", after, 0.05) for after in (0.1, 0.2)),
    *(Step(f"{size:g} σ".lstrip("0"), "normal", size) for size in (0.25, 0.5, 1.0)),
    Step(".2→.3 over 1,000", "errors .2", 0.3, 0.2, ramp=1_000),
    Step(".5 σ over 1,000", "normal", 0.5, ramp=1_000),
]


def limit(step: Step, arl0: float) -> float:
    """D*: the least mean delay any detector can have at this mean time between false alarms; both sides known.

    The closed form of CUSUM, which is optimal (Moustakides 1986); within 7 % of simulations. Of a ramp it is that of
    the step to its end, which comes before it.
    """
    before, after = step.information
    y = arl0 * before
    x = np.log1p(y)
    for _ in range(50):
        x = np.log1p(x + y)
    return float((x - 1 + np.exp(-x)) / after)


def frozen_model(rng: Rng, count: int) -> tuple[F64, Bool]:
    """Errors (count,) of a model that never learns again on data whose rule moves, and where it moved.

    SEA (Street and Kim 2001): the truth is x1 + x2 <= border, with a tenth of noise; the model knows the first border.
    """
    change = np.zeros(count, np.bool_)
    change[np.cumsum(rng.integers(2_000, 4_000, count // 2_000))[:-1].clip(max=count - 1)] = True
    change[-1] = False
    borders = np.concatenate([[8.0], np.where(np.arange(change.sum()) % 2, 8.0, rng.choice([5, 6, 10], change.sum()))])
    border = borders[np.cumsum(change)]
    total = rng.uniform(0, 10, (count, 2)).sum(axis=1)
    wrong = ((total <= 8) != (total <= border)) ^ (rng.random(count) < 0.1)
    return wrong.astype(float), change
