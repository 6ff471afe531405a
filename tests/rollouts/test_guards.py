from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from stream_monitor.rollouts.guards import (
    AnyGuard,
    InputGuard,
    Known,
    LimitGuard,
    OutcomeGuard,
    QuantileGuard,
    lines_of,
    start_guard,
)
from stream_monitor.rollouts.plan import Guard
from stream_monitor.rollouts.strata import Arms, InputStratum, LabelStratum, SettledGrain
from stream_monitor.types import F64
from stream_monitor.wire.msgpack_arrays import pack, unpack

RATES = np.array([0.0, 1.0])
BAR = math.log(20)
EDGES = np.exp(np.linspace(-3, 4, 141))


class Held(msgspec.Struct):
    guards: list[AnyGuard]


def guard(measure: str, **keys: object) -> Guard:
    return Guard.model_validate({"measure": measure, **keys})


def rates(rng: np.random.Generator, n: tuple[int, int], p: tuple[float, float]) -> Arms:
    hits = rng.binomial(n, p)
    a, b = (np.array([[total - hit, hit]], np.float64) for total, hit in zip(n, hits, strict=True))
    return Arms(RATES, a, b)


def binned(values: F64) -> F64:
    places = np.minimum(np.searchsorted(EDGES, values), len(EDGES) - 1)
    return np.bincount(places, minlength=len(EDGES)).astype(np.float64)


def latencies(rng: np.random.Generator, n: tuple[int, int], times: float) -> Arms:
    a, b = rng.lognormal(size=n[0]), times * rng.lognormal(size=n[1])
    return Arms(EDGES, binned(a)[None], binned(b)[None])


def baseline(rng: np.random.Generator) -> Known:
    return Known(EDGES, binned(rng.lognormal(size=10_000)))


def test_lines_of_more_and_of_less() -> None:
    up, down = lines_of(guard("error", margin="10% + 0.5pp")), lines_of(guard("signal.x", margin="10%", worse="down"))
    assert up.times.tolist() == [1.1, 1.1, 1.2, 1.4] and up.plus.tolist() == [0.005, 0.005, 0.01, 0.02]
    assert up.side.tolist() == [1, -1, -1, -1] and down.side.tolist() == [-1, 1, 1, 1]
    assert down.times.tolist() == [0.9, 0.9, 0.8, 0.6] and not down.plus.any()


@pytest.mark.parametrize(("measure", "kind"), [("error", OutcomeGuard), ("x.p99", QuantileGuard), ("x", InputGuard)])
def test_each_measure_has_its_kind_of_guard(measure: str, kind: type[AnyGuard]) -> None:
    assert isinstance(start_guard(guard(measure), None, 2), kind)
    assert isinstance(start_guard(guard("null_answer", limit="2%"), None, 2), LimitGuard)


@pytest.mark.parametrize(("q", "side"), [(0.02, "harm"), (0.1, "harm"), (0.05, "none")])
def test_less_is_harm_where_the_guard_says_so(q: float, side: str) -> None:
    rng, of = np.random.default_rng(1), guard("signal.click", worse="down", margin="5%")
    bets = InputGuard.start(None)
    for at in range(200):
        bets.take(of, InputStratum(at, at + 1, rates(rng, (100, 100), (0.05, q))), None)
    said = bets.said(1.0)
    assert (said.harm[0][0] > BAR) == (q == 0.02) and (said.passes[1][0] > BAR) == (q == 0.1)
    assert side != "none" or max(said.harm[0][0], said.passes[1][0]) < BAR


@pytest.mark.parametrize("known", [True, False])
def test_a_quantile_is_harmed_by_a_longer_tail_and_passes_without(known: bool) -> None:
    rng, of = np.random.default_rng(2), guard("latency_ms.p99", margin="20%")
    for times, harmed in ((2.0, True), (0.8, False)):
        bets = QuantileGuard.start(of, baseline(rng) if known else None)
        for at in range(300):
            bets.take(of, InputStratum(at, at + 1, latencies(rng, (100, 100), times)), None)
        said = bets.said(1.0)
        assert bets.border == pytest.approx(np.exp(2.326), rel=0.25)
        assert (said.harm[0][0] > BAR, said.passes[4][0] > BAR) == (harmed, not harmed)


def test_the_border_above_is_judged() -> None:
    of, rng = guard("latency_ms.p99", margin="20%"), np.random.default_rng(3)
    bets = QuantileGuard.start(of, baseline(rng))
    wanted = 1.2 * bets.border
    assert wanted <= bets.judged(of, 1, EDGES) <= wanted * 1.06
    assert bets.judged(of, 1, EDGES[:3]) == EDGES[2], "beyond the last border there is none"


def test_a_mean_on_bins_is_compared() -> None:
    rng, of = np.random.default_rng(4), guard("latency_ms.mean", margin="10%")
    bets = InputGuard.start(baseline(rng))
    for at in range(60):
        bets.take(of, InputStratum(at, at + 1, latencies(rng, (100, 20), 1.5)), None)
    assert bets.said(1.0).harm[0][0] > BAR


def test_a_limit_needs_no_primary() -> None:
    rng, of = np.random.default_rng(5), guard("null_answer", limit="2%")
    for q, harmed in ((0.06, True), (0.002, False)):
        bets = LimitGuard.start()
        for at in range(40):
            bets.take(of, InputStratum(at, at + 1, rates(rng, (0, 50), (0.0, q))))
        said = bets.said(1.0)
        assert (said.harm[0][0] > BAR, said.passes[1][0] > BAR) == (harmed, not harmed)
        assert not (bets.said(20.0).harm[0][0] > BAR)
        bets.take(of, InputStratum(0, 1, Arms(EDGES, np.zeros((1, 141)), np.ones((1, 141)))))


# --- outcomes ---


def grains(rng: np.random.Generator, count: int, labelled: tuple[float, float], q: float = 0.05) -> list[SettledGrain]:
    """Grains of 100 predictions a version, of which these shares have a label when they settle."""
    found = []
    for at in range(count):
        n = [int(rng.binomial(100, share)) for share in labelled]
        found.append(SettledGrain(at, at + 1, rates(rng, (n[0], n[1]), (0.05, q)), np.full((1, 2), 100.0)))
    return found


def test_labels_that_do_not_come_count_as_wrong_for_the_one_that_lacks_them() -> None:
    of, rng = guard("error", margin=0), np.random.default_rng(6)
    whole, lacking = OutcomeGuard.start(None, 2), OutcomeGuard.start(None, 2)
    for one in grains(rng, 200, (0.9, 0.9), 0.02):
        whole.take_settled(of, one, 0.5)
    for one in grains(rng, 200, (0.9, 0.8), 0.02):
        lacking.take_settled(of, one, 0.5)
    assert whole.said(1.0).passes[1][0] > BAR and lacking.said(1.0).passes[1][0] < 0
    assert lacking.counted[0, 1] == pytest.approx(0.1 * 100 * 200, rel=0.2)
    assert lacking.counted[0, 0] == 0 and lacking.said(1.0).harm[1][0] < BAR


def test_a_worse_candidate_is_harm_at_settle_and_as_labels_come() -> None:
    of, rng = guard("error", margin="10%"), np.random.default_rng(7)
    bets = OutcomeGuard.start(None, 2)
    for one in grains(rng, 60, (0.9, 0.9), 0.2):
        bets.take_early(of, LabelStratum(one.grain, one.end, 0, one.arms), one.predictions, 0.5)
        bets.take_settled(of, one, 0.5)
    early, settled = bets.said(1.0).harm
    assert early[0] > BAR and settled[0] > BAR and not bets.muted[0]


def test_the_early_bet_is_muted_for_good_once_the_candidates_labels_come_sooner() -> None:
    of, rng = guard("error", margin="10%"), np.random.default_rng(8)
    bets = OutcomeGuard.start(None, 2)
    for one in grains(rng, 60, (0.3, 0.6), 0.2):
        bets.take_early(of, LabelStratum(one.grain, one.end, 0, one.arms), one.predictions, 0.5)
    assert bets.muted[0] and bets.said(1.0).harm[0][0] == -np.inf


def test_state_of_every_kind_survives_a_snapshot_at_any_stratum() -> None:
    rng = np.random.default_rng(9)
    of = [guard("error"), guard("x.p99"), guard("x"), guard("y", limit="2%")]
    known = baseline(rng)
    through, stopped = ([start_guard(one, known if i == 1 else None, 2) for i, one in enumerate(of)] for _ in range(2))
    for at in range(20):
        arms = latencies(rng, (40, 20), 1.0), rates(rng, (40, 20), (0.05, 0.05))
        stopped = unpack(pack(Held(stopped)), Held).guards
        for guards in (through, stopped):
            for one, spec in zip(guards, of, strict=True):
                values = arms[0] if spec.measure == "x.p99" else arms[1]
                if isinstance(one, OutcomeGuard):
                    n = np.array([[50.0, 30.0]])
                    one.take_early(spec, LabelStratum(at, at + 1, at % 2, values), n, 0.3)
                    one.take_settled(spec, SettledGrain(at, at + 1, values, n), 0.3)
                elif isinstance(one, LimitGuard):
                    one.take(spec, InputStratum(at, at + 1, values))
                elif isinstance(one, InputGuard | QuantileGuard):
                    one.take(spec, InputStratum(at, at + 1, values), 0.3)
    for one, other in zip(through, stopped, strict=True):
        assert pack(one) == pack(other), type(one)
