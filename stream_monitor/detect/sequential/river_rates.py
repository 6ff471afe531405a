"""River's detectors of errors: DDM, EDDM, HDDM_A, HDDM_W and FHDDM, behind `river_adapter`.

The order of the values within a pane is unknown. The adapter spreads hits evenly over the pane (for `eddm` at random),
and takes other values between 0 and 1 all at the pane's mean. It feeds at most `CAP` values of a pane, thinned in
proportion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from stream_monitor.detect.sequential.adwin import Change
from stream_monitor.detect.sequential.pane_values import evenly_spaced_hits, shuffled_hits
from stream_monitor.detect.sequential.river_adapter import PerValue, rivers

CAP = 1_000
"""Most values of a pane that a detector is fed; the slowest takes 5 ms for them."""
NARROW = 1e-6
"""Values between 0 and 1 count as zeros and ones if the mean of x - x² is at most this."""


def is_rate(moments: tuple[int, float, float]) -> bool:
    """Whether values between 0 and 1 with these moments (n, mean, centred sum of squares) are all zeros and ones."""
    n, mean, m2 = moments
    return abs(n * mean * (1 - mean) - m2) <= NARROW * n


class Measured(msgspec.Struct, frozen=True):
    """A statistic that has passed its threshold, in River's unit."""

    score: float
    threshold: float


class Rate(PerValue):
    """A detector of errors, which are ones among zeros. It detects only a rise of their rate.

    River compares the present with a reference (its best rate so far, or its cut), which may lie long before a change.
    So a CUSUM (Page 1954) estimates the start of the change and the rate since: it starts from the rate up to the
    reference, tests against a rise by half a standard deviation, and the change began where it was last 0.
    """

    total: float = 0.0
    """Sum of the values fed so far."""
    usual: float = 0.0
    """Rate up to the reference; `most` is a quarter of a standard deviation above it."""
    most: float = math.inf
    excess: float = 0.0
    risen: int = 0
    risen_total: float = 0.0
    """Number and sum of the values since the CUSUM was last 0; `since` is the time of the first, epoch ms."""
    since: int = 0
    owed: float = 0.0
    """The fraction of a hit that thinning has not fed yet."""

    def accepts(self, ends: tuple[float, float], moments: tuple[int, float, float]) -> bool:
        """Whether the detector applies to a measure whose baseline has these ends and moments."""
        return ends[0] >= 0 and ends[1] <= 1 and is_rate(moments)

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of n zeros and ones; return a Change and restart when River's detector raises an alarm."""
        return self._feed(self._thinned(n, mean, ts), ts)

    def _thinned(self, n: int, mean: float, ts: int) -> Sequence[float]:
        """The pane as at most `CAP` values; the rounding error of the hits is carried to the next large pane."""
        hits = min(max(round(n * mean), 0), n)
        if n > CAP:
            exact = hits * CAP / n + self.owed
            n, hits = CAP, min(max(round(exact), 0), CAP)
            self.owed = exact - hits
        return self._ordered(n, hits, ts)

    def _ordered(self, n: int, hits: int, ts: int) -> Sequence[float]:
        return evenly_spaced_hits(n, hits)

    def _feed(self, values: Sequence[float], ts: int) -> Change | None:
        live, mark, change = self.live, self._mark(self.live), None
        for x in values:
            last = self._take(live, x)
            self.fed += 1
            self.total += x
            self._follow(x, ts)
            if live.drift_detected:
                change = change or self._change(self._found(live, last), x, ts)
                self._restart()
                live, mark = self.live, self._mark(self.live)
                continue
            now = self._mark(live)
            if now != mark:
                mark, rate = now, self.total / self.fed
                spread = math.sqrt((self.total + 0.5) * (self.fed - self.total + 0.5)) / (self.fed + 1)
                self.usual, self.most = rate, rate + spread / 4
        self._keep(live)
        return change

    def _change(self, found: Measured, x: float, ts: int) -> Change:
        after = self.risen_total / self.risen if self.risen else x
        return Change(found.score, found.threshold, self.usual, after, self.since if self.risen else ts)

    def _follow(self, x: float, ts: int) -> None:
        self.excess += x - self.most
        if self.excess <= 0:
            self.excess, self.risen, self.risen_total = 0.0, 0, 0.0
            return
        if not self.risen:
            self.since = ts
        self.risen += 1
        self.risen_total += x

    def _take(self, live: Any, x: float) -> float:
        """Feed a value; return the value that River then forgets, if `_found` needs it."""
        live.update(x)
        return 0.0

    def _mark(self, live: Any) -> float:
        """A number that changes whenever River takes a new reference."""
        raise NotImplementedError

    def _found(self, live: Any, last: float) -> Measured:
        """The statistic that passed its threshold, after River's alarm."""
        raise NotImplementedError


class Fraction(Rate):
    """A detector of values between 0 and 1, zeros and ones or not."""

    def accepts(self, ends: tuple[float, float], moments: tuple[int, float, float]) -> bool:
        """Whether the detector applies to a measure whose baseline has these ends and moments."""
        return ends[0] >= 0 and ends[1] <= 1

    def update(self, n: int, mean: float, m2: float, ts: int) -> Change | None:
        """Take in a pane of n values; values that are not all zeros and ones are taken at the pane's mean."""
        if n > 1 and is_rate((n, mean, m2)):
            return self._feed(self._thinned(n, mean, ts), ts)
        return self._feed([min(max(mean, 0.0), 1.0)] * min(n, CAP), ts)


class Ddm(Rate, tag="ddm"):
    """DDM: the error rate plus its deviation is three deviations above its least value.

    Gama, Medas, Castillo and Rodrigues, "Learning with drift detection" (SBIA 2004). Memory: a dozen numbers.

    The error rate rises at value 1000:

    >>> import numpy as np
    >>> errors = (np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.3], 1000)).astype(float).tolist()
    >>> detector = Ddm()
    >>> next(i for i, x in enumerate(errors) if detector.update(1, x, 0.0, i))
    1052
    """

    rate: float = 0.0
    p_min: float | None = None
    s_min: float | None = None

    def _make(self) -> Any:
        live = rivers("DDM")
        live._p.n, live._p._mean = float(self.fed), self.rate
        live._p_min, live._s_min = self.p_min, self.s_min
        if self.p_min is not None and self.s_min is not None:
            live._ps_min = self.p_min + self.s_min
        return live

    def _keep(self, live: Any) -> None:
        self.rate, self.p_min, self.s_min = live._p.get(), live._p_min, live._s_min

    def _mark(self, live: Any) -> float:
        return float(live._ps_min)

    def _found(self, live: Any, last: float) -> Measured:
        p = live._p.get()
        deviation = math.sqrt(p * (1 - p) / live._p.n)
        return Measured(p + deviation, live._p_min + live.drift_threshold * live._s_min)


class Eddm(Rate, tag="eddm"):
    """EDDM: the distance between errors (mean plus two deviations) falls below .9 of its largest value.

    Baena-García et al., "Early drift detection method" (2006). The score is the largest distance divided by the present
    one. The largest distance may be that of the first few errors. So at a rate of .1, nine of ten new detectors raise a
    false alarm within a thousand values, until one starts with short distances. Hits at even distances would raise
    alarms for ever, so the adapter scatters them. Memory: a dozen numbers.

    The error rate rises at value 1000; the first alarm is false:

    >>> import numpy as np
    >>> errors = (np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.3], 1000)).astype(float).tolist()
    >>> detector = Eddm()
    >>> next(i for i, x in enumerate(errors) if detector.update(1, x, 0.0, i))
    289
    """

    errors: int = 0
    last_error: int = 0
    distance: float = 0.0
    squares: float = 0.0
    longest: float = -1.0

    def _make(self) -> Any:
        live = rivers("EDDM")
        live._n, live._n_errors, live._last_error, live._p2s_prime_max = (
            self.fed, self.errors, self.last_error, self.longest,
        )  # fmt: skip
        between = live._error_distances
        between.mean.n, between.mean._mean, between._S = float(self.errors), self.distance, self.squares
        return live

    def _keep(self, live: Any) -> None:
        between = live._error_distances
        self.errors, self.last_error, self.longest = live._n_errors, live._last_error, live._p2s_prime_max
        self.distance, self.squares = between.mean.get(), between._S

    def _ordered(self, n: int, hits: int, ts: int) -> Sequence[float]:
        return shuffled_hits(n, hits, ts)

    def _mark(self, live: Any) -> float:
        return float(live._p2s_prime_max)

    def _found(self, live: Any, last: float) -> Measured:
        between = live._error_distances
        return Measured(live._p2s_prime_max / (between.mean.get() + 2 * between.get() ** 0.5), 1 / live.beta)


class HddmA(Fraction, tag="hddm_a"):
    """HDDM, A-test: the mean since the best cut is above the one before it by Hoeffding's bound at .001.

    Frías-Blanco et al., "Online and non-parametric drift detection methods based on Hoeffding's bounds" (2014).
    Memory: 15 numbers.

    The error rate rises at value 1000:

    >>> import numpy as np
    >>> errors = (np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.3], 1000)).astype(float).tolist()
    >>> detector = HddmA()
    >>> next(i for i, x in enumerate(errors) if detector.update(1, x, 0.0, i))
    1017
    """

    least: tuple[float, float] = (0.0, 0.0)
    largest: tuple[float, float] = (0.0, 0.0)
    mean: tuple[float, float] = (0.0, 0.0)
    """(n, mean) of all values so far; `least` up to the cut for a rise, `largest` up to the cut for a fall."""

    def _make(self) -> Any:
        live = rivers("HDDMA")
        live._x_min.n, live._x_min._mean = self.least
        live._x_max.n, live._x_max._mean = self.largest
        live._z.n, live._z._mean = self.mean
        return live

    def _keep(self, live: Any) -> None:
        self.least, self.largest, self.mean = ((m.n, m.get()) for m in (live._x_min, live._x_max, live._z))

    def _mark(self, live: Any) -> float:
        return float(live._x_min.n)

    def _found(self, live: Any, last: float) -> Measured:
        n, cut = live._z.n, live._x_min.n
        bound = math.sqrt((n - cut) / cut / n / 2 * math.log(2 / live.drift_confidence))
        return Measured(live._z.get() - live._x_min.get(), bound)


Sample = tuple[float, float, bool]
"""A weighted mean, its sum of squared weights, and whether it has a value."""
NO_SAMPLE: Sample = (0.0, 1.0, False)
_SAMPLES = ("_total", "_s1_decr", "_s1_incr", "_s2_decr", "_s2_incr")


class HddmW(Fraction, tag="hddm_w"):
    """HDDM, W-test: the newer of two exponentially weighted means is above the older by McDiarmid's bound at .001.

    Frías-Blanco et al. (2014), as `HddmA`. Memory: 26 numbers.

    The error rate rises at value 1000:

    >>> import numpy as np
    >>> errors = (np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.3], 1000)).astype(float).tolist()
    >>> detector = HddmW()
    >>> next(i for i, x in enumerate(errors) if detector.update(1, x, 0.0, i))
    1017
    """

    samples: tuple[Sample, Sample, Sample, Sample, Sample] = (NO_SAMPLE,) * 5
    cuts: tuple[float, float] = (math.inf, -math.inf)

    def _make(self) -> Any:
        live = rivers("HDDMW")
        for name, (mean, weights, started) in zip(_SAMPLES, self.samples, strict=True):
            sample = getattr(live, name)
            if started:  # the first value of a weighted mean is that mean
                sample.update(mean)
            sample._ibc = weights
        live._incr_cutpoint, live._decr_cutpoint = self.cuts
        return live

    def _keep(self, live: Any) -> None:
        samples = [getattr(live, name) for name in _SAMPLES]
        total, s1_decr, s1_incr, s2_decr, s2_incr = ((float(s.ewma), s.ibc, s.is_init) for s in samples)
        self.samples = total, s1_decr, s1_incr, s2_decr, s2_incr
        self.cuts = live._incr_cutpoint, live._decr_cutpoint

    def _mark(self, live: Any) -> float:
        return float(live._incr_cutpoint)

    def _found(self, live: Any, last: float) -> Measured:
        old, new = live._s1_incr, live._s2_incr
        return Measured(new.ewma - old.ewma, live._mcdiarmid_bound(old.ibc + new.ibc, live.drift_confidence))


class Fhddm(Rate, tag="fhddm"):
    """FHDDM: the share of right answers among the last hundred falls below its best by Hoeffding's bound at 1e-6.

    Pesaranghader and Viktor, "Fast Hoeffding drift detection method" (ECML-PKDD 2016). River's FHDDM detects a fall of
    its input, so the adapter feeds it 1 - x: an error is 0, as in the paper. Memory: its window, a hundred values.

    The error rate rises at value 1000:

    >>> import numpy as np
    >>> errors = (np.random.default_rng(0).random(2000) < np.repeat([0.1, 0.3], 1000)).astype(float).tolist()
    >>> detector = Fhddm()
    >>> next(i for i, x in enumerate(errors) if detector.update(1, x, 0.0, i))
    1077
    """

    window: list[float] = msgspec.field(default_factory=list)
    ones: float = 0.0
    best: float = 0.0

    def _make(self) -> Any:
        live = rivers("FHDDM")
        live._sliding_window.extend(self.window)
        live.n_one, live._u_max = self.ones, self.best
        return live

    def _keep(self, live: Any) -> None:
        self.window, self.ones, self.best = list(live._sliding_window), live.n_one, live._u_max

    def _take(self, live: Any, x: float) -> float:
        window, size = live._sliding_window, live.sliding_window_size
        oldest = window[0] if len(window) == size - 1 else 0.0
        live.update(1.0 - x)
        return float(oldest)

    def _mark(self, live: Any) -> float:
        return float(live._u_max)

    def _found(self, live: Any, last: float) -> Measured:
        return Measured(live._u_max - (live.n_one + last) / live.sliding_window_size, live._epsilon)
