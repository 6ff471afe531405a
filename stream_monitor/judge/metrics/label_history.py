"""Errors by the time of their prediction and by the age of their label, in the order in which labels became known.

A performance delta holds errors by the grain of their prediction, and by the grain in which the label became known: the
later of the two times. Which deltas have been read at a watermark depends on how topics were interleaved. So errors
wait until the label watermark has passed the grain in which they became known, and are then taken grain by grain. What
was taken up to a time depends on the events alone.

Ages are counted in whole grains, from the prediction's grain to that of the label. Rung 0 holds the age 0, and rung k
the ages up to 2^(k-1), so a label horizon of 2,016 grains has 13 rungs.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from stream_monitor.profiles.records import PerformanceDelta

MEASURES = ("error", "absolute_error")
"""The error measures: of answers that are classes, and of answers that are numbers."""
SQUARES = {"error": "error", "absolute_error": "squared_error"}
"""The measure that sums the squares of an error measure. The square of 0 or 1 is itself."""

ErrorKey = tuple[str, str, str]
"""Version, segment, measure."""


def rung_of(age: int) -> int:
    """The rung of an age in grains."""
    return 0 if age <= 0 else (age - 1).bit_length() + 1


def complete_rung(age: int) -> int:
    """The highest rung whose labels are all known of a prediction grain that ended `age` grains ago."""
    return max(age, 0).bit_length()


def lag_of(rung: int) -> int:
    """The largest age of a rung, in grains."""
    return 0 if rung == 0 else 1 << (rung - 1)


class ErrorSums(msgspec.Struct, array_like=True):
    """Number, sum and sum of squares of errors; a corrected label adds a difference."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, other: ErrorSums) -> None:
        """Add sums."""
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    def halve(self) -> None:
        """Let these errors count half; the mean stays."""
        n, self.n = self.n, self.n // 2
        if n > 0:
            self.total, self.squares = self.total * self.n / n, self.squares * self.n / n


def variance_of(sums: ErrorSums, binary: bool) -> float:
    """The variance of errors; of 0 and 1 with one more of each, so that it is above 0 (Laplace)."""
    if binary:
        share = (sums.total + 1) / (sums.n + 2)
        return share * (1 - share)
    if sums.n <= 0:
        return 0.0
    mean = sums.total / sums.n
    return max(sums.squares / sums.n - mean * mean, 0.0)  # a power of a large float would raise


ByRung = dict[int, ErrorSums]


def add_to(sums: dict[int, ByRung], at: int, rung: int, part: ErrorSums) -> None:
    """Add errors to a slot of sums by time and rung."""
    sums.setdefault(at, {}).setdefault(rung, ErrorSums()).add(part)


class ErrorHistory(msgspec.Struct):
    """What is known of the errors of one version, segment and measure; all times are starts of grains (epoch ms)."""

    since: int
    """The first grain of a prediction."""
    by_prediction: dict[int, ByRung] = {}
    """By the prediction's grain."""
    by_known: dict[int, ByRung] = {}
    """By the grain in which the label became known."""
    settled: ByRung = {}
    """By rung: the errors of this rung and those below, of grains that `by_known` does not hold any more. A rung's
    errors count from its lag after `since` on, for before that only younger labels can have been known."""

    def add(self, prediction: int, known: int, grain: int, part: ErrorSums) -> None:
        """Add errors of labels that became known in a grain."""
        rung, self.since = rung_of((known - prediction) // grain), min(self.since, prediction)
        add_to(self.by_prediction, prediction, rung, part)
        add_to(self.by_known, known, rung, part)

    def prune(self, known: int, prediction: int, grain: int, most: int) -> None:
        """Settle the grains of labels before `known`; drop the grains of predictions before `prediction`.

        With more than `most` settled errors all count half, so that those of late count most.
        """
        for at in sorted(at for at in self.by_known if at < known):
            self._settle(self.settled, at, self.by_known.pop(at), grain)
            if self.settled and max(sums.n for sums in self.settled.values()) > most:
                for sums in self.settled.values():
                    sums.halve()
        for at in [at for at in self.by_prediction if at < prediction]:
            del self.by_prediction[at]

    def reference(self, until: int, grain: int) -> ByRung:
        """By rung: the errors of labels of this age or younger that became known before `until`."""
        found = {rung: ErrorSums(*msgspec.structs.astuple(sums)) for rung, sums in self.settled.items()}
        for at in sorted(at for at in self.by_known if at < until):
            self._settle(found, at, self.by_known[at], grain)
        return found

    def forget(self) -> None:
        """Forget what became known, as the reference of later changes; watches keep their predictions."""
        self.by_known, self.settled = {}, {}

    def _settle(self, into: ByRung, at: int, parts: ByRung, grain: int) -> None:
        age = (at - self.since) // grain
        for top in range(complete_rung(age) + 1):
            for rung, part in parts.items():
                if rung <= top:
                    into.setdefault(top, ErrorSums()).add(part)


class WaitingErrors(msgspec.Struct):
    """Errors whose labels became known in a grain that the label watermark has not passed yet."""

    by_known: dict[int, dict[tuple[ErrorKey, int], ErrorSums]] = {}
    """By the grain in which they became known: by key and the prediction's grain."""

    def feed(self, delta: PerformanceDelta, otherwise: int) -> None:
        """Add the errors of a delta; in one of a former version, labels became known in the grain `otherwise`."""
        known = [otherwise] * len(delta.version) if delta.known is None else delta.known.tolist()
        rows = zip(delta.cell.tolist(), delta.name.tolist(), delta.n.tolist(), delta.total.tolist(), strict=True)
        for cell, index, n, total in rows:
            name = delta.names[index]
            for measure in MEASURES:
                if name in (measure, SQUARES[measure]):
                    part = ErrorSums(squares=total if name == SQUARES[measure] else 0.0)
                    if name == measure:
                        part.n, part.total = n, total
                    key = (delta.version[cell], delta.segment[cell], measure), int(delta.window[cell])
                    self.by_known.setdefault(known[cell], {}).setdefault(key, ErrorSums()).add(part)

    def take(self, until: int) -> Iterator[tuple[int, ErrorKey, int, ErrorSums]]:
        """Take the grains that start before `until`: (grain, key, the prediction's grain, errors)."""
        for known in sorted(at for at in self.by_known if at < until):
            for (key, prediction), part in sorted(self.by_known.pop(known).items()):
                yield known, key, prediction, part
