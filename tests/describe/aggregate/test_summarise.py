"""Profiles merge: however rows are split into deltas, the panes are those of one delta of all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.describe.aggregate.delta_writer import Batch, pack_deltas
from stream_monitor.describe.aggregate.grouping import ACCEPTED, DUPLICATE, LATE
from stream_monitor.describe.aggregate.summarise import ProfileCells, summarise
from stream_monitor.describe.decode.columns import Coded, Columns, merge
from stream_monitor.errors import FormatError
from stream_monitor.judge.panes import pane as panes
from stream_monitor.judge.panes.merge_queue import MergeBatch, QueuedPane
from stream_monitor.judge.panes.pane import IdRegistry, Pane, RowIndexCache
from stream_monitor.profiles.bins import BINS, BinEdges, bin_values, make_edges
from stream_monitor.profiles.categories import NEW_CATEGORIES, UNKNOWN_CATEGORIES, keep_order
from stream_monitor.profiles.delta import CategoricalRows, Delta, NumericRows
from stream_monitor.profiles.known_bins import KnownBins
from stream_monitor.profiles.names import ALL_SEGMENTS
from stream_monitor.profiles.records import MAX_RECORD_BYTES
from stream_monitor.types import I64
from stream_monitor.wire.msgpack_arrays import pack, unpack
from tests.effort import examples

PANE = 1_000
N = 400
EDGES = make_edges(np.random.default_rng(0).normal(1e4, 3, 500), limits=(1e4,))


def rows_of(
    numeric: dict[str, Any], categorical: dict[str, Coded], row: I64, cell: I64, known: KnownBins
) -> tuple[NumericRows, CategoricalRows]:
    """The rows of one model, whose cells are only numbers."""
    size = int(cell.max(initial=0)) + 1
    zeros = np.zeros(size, np.int64)
    (rows,) = summarise(
        ProfileCells(zeros, ["1"] * size, [ALL_SEGMENTS] * size, zeros, zeros, row, cell), numeric, categorical, [known]
    )
    return rows[:2]


class Table:
    """N seeded events of one model: numbers with gaps, categories, overlapping segments, every status."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.versions = rng.choice(["1", "2"], N).tolist()
        self.pane = rng.integers(0, 3, N) * PANE
        self.status = rng.choice([ACCEPTED, DUPLICATE, LATE], N, p=[0.8, 0.1, 0.1])
        self.numeric = {
            "known": rng.normal(1e4, 3, N),
            "unknown": rng.lognormal(0, 2, N),
            "constant": np.full(N, 0.1),
            "far": rng.normal(1e6, 1, N),
        }
        for name in ("known", "unknown"):
            self.numeric[name][rng.random(N) < 0.2] = np.nan
        self.categorical: dict[str, list[str | None]] = {
            "country": rng.choice(np.array(["DE", "FR", "IT", None]), N).tolist(),
            "rare": [f"r{x}" if x < 40 else None for x in rng.integers(0, 60, N)],
        }
        self.segments = {
            ("a",): rng.choice(np.array(["a=1", "a=2", None]), N).tolist(),
            ("b",): rng.choice(np.array(["b=1", None]), N).tolist(),
        }

    def batch(self, rows: I64) -> Batch:
        columns = Columns(
            Coded.one("m", len(rows)),
            np.arange(len(rows)),
            Coded.of([self.versions[r] for r in rows]),
            {name: column[rows] for name, column in self.numeric.items()},
            {name: Coded.of([column[r] for r in rows]) for name, column in self.categorical.items()},
            {spec: Coded.of([column[r] for r in rows]) for spec, column in self.segments.items()},
        )
        return Batch("input", columns, self.pane[rows], self.status[rows])

    def deltas(self, parts: list[I64], known: KnownBins) -> list[Delta]:
        packed = [raw for rows in parts if len(rows) for _, raw in pack_deltas(self.batch(rows), lambda _: known)]
        return [unpack(raw, Delta) for raw in packed]

    def mask(self, version: str, segment: str, pane: int) -> Any:
        inside = [
            v == version and (segment == ALL_SEGMENTS or segment in names)
            for v, *names in zip(self.versions, *self.segments.values(), strict=True)
        ]
        return np.array(inside) & (self.pane == pane)


KNOWN = KnownBins({"known": EDGES}, {"country": frozenset({"DE", "FR"})})
LATER = {"known": EDGES, "unknown": make_edges(np.random.default_rng(1).lognormal(0, 2, 500))}


def groups_of(delta: Delta, ids: IdRegistry) -> I64:
    return np.array([ids.group(v, s) for v, s in zip(delta.version, delta.segment, strict=True)], np.int64)


def merged(deltas: list[Delta], edges: dict[str, BinEdges] | None = None) -> dict[int, tuple[Pane, IdRegistry]]:
    """The panes of these deltas, with fixed numbers of groups and measures."""
    ids = IdRegistry({}, {})
    for version in ("1", "2"):
        for segment in (ALL_SEGMENTS, "a=1", "a=2", "b=1"):
            ids.group(version, segment)
    for name in ("known", "unknown", "constant", "far"):
        ids.measure(name)
    waiting: dict[int, list[Any]] = {}
    for delta in deltas:
        groups = groups_of(delta, ids)
        for start, part in panes.split(delta):
            waiting.setdefault(start, []).append(RowIndexCache(ids).placed(part, groups[part.first : part.last]))
    return {start: (Pane(start, parts, ids, edges or {}), ids) for start, parts in waiting.items()}


def tallies(pane: Pane) -> dict[tuple[int, str], tuple[int, dict[str, int]]]:
    """Values and counts by category, of each group and measure."""
    return {key: (n, dict(zip(names, counts, strict=True))) for key, (n, names, counts) in pane.tallies().items()}


def assert_same(found: dict[int, tuple[Pane, IdRegistry]], expected: dict[int, tuple[Pane, IdRegistry]]) -> None:
    assert found.keys() == expected.keys()
    for start, (pane, ids) in found.items():
        other, other_ids = expected[start]
        assert ids == other_ids
        np.testing.assert_array_equal(
            MergeBatch([QueuedPane.of(pane)]).counts, MergeBatch([QueuedPane.of(other)]).counts
        )
        for name in ("group", "measure", "n", "low", "high", "bin_ptr", "bin_at", "bin_n"):
            np.testing.assert_array_equal(getattr(pane.numbers, name), getattr(other.numbers, name), err_msg=name)
        np.testing.assert_allclose(pane.numbers.mean, other.numbers.mean, rtol=1e-9)
        np.testing.assert_allclose(pane.numbers.m2, other.numbers.m2, rtol=1e-9, atol=1e-9)
        assert tallies(pane) == tallies(other)
        assert sorted_values(pane) == sorted_values(other)


def sorted_values(pane: Pane) -> dict[tuple[int, int], list[float]]:
    return {key: sorted(np.concatenate(parts).tolist()) for key, parts in pane.values.items()}


@st.composite
def splits(draw: st.DrawFn) -> list[I64]:
    """All rows in some order, cut somewhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = rng.permutation(N)
    cuts = draw(st.lists(st.integers(0, N), max_size=12))
    return np.split(rows, sorted(cuts))


WHOLE = {seed: Table(seed) for seed in range(3)}
EXPECTED = {seed: merged(table.deltas([np.arange(N)], KNOWN)) for seed, table in WHOLE.items()}


@examples(30)
@given(splits(), st.sampled_from(sorted(WHOLE)), st.randoms(use_true_random=False))
def test_deltas_of_any_split_merge_to_one_delta_of_all_rows(parts: list[I64], seed: int, rng: Any) -> None:
    deltas = WHOLE[seed].deltas(parts, KNOWN)
    rng.shuffle(deltas)
    assert_same(merged(deltas), EXPECTED[seed])


@examples(20)
@given(splits(), st.integers(0, 12))
def test_it_does_not_show_when_a_worker_heard_of_the_edges(parts: list[I64], heard: int) -> None:
    table = WHOLE[0]
    ignorant = KnownBins({}, KNOWN.categories)
    deltas = table.deltas(parts[:heard], ignorant) + table.deltas(parts[heard:], KnownBins(LATER, KNOWN.categories))
    expected = merged(table.deltas([np.arange(N)], KnownBins(LATER, KNOWN.categories)), LATER)
    assert_same(merged(deltas, LATER), expected)


def test_a_pane_is_what_plain_arithmetic_says() -> None:
    table = WHOLE[1]
    for start, (pane, ids) in merged(table.deltas([np.arange(N)], KNOWN)).items():
        seen = set()
        for (version, segment), group in ids.groups.items():
            inside = table.mask(version, segment, start)
            statuses = np.bincount(table.status[inside], minlength=3)
            assert MergeBatch([QueuedPane.of(pane)]).counts[group].tolist() == statuses.tolist()
            accepted = inside & (table.status == ACCEPTED)
            for name, measure in ids.measures.items():
                values = table.numeric[name][accepted]
                if check_numbers(pane, group, measure, values[~np.isnan(values)], name):
                    seen.add((group, measure))
            for name, column in table.categorical.items():
                named = [c for c, inside in zip(column, accepted, strict=True) if inside and c is not None]
                assert tallies(pane).get((group, name), (0, {})) == (len(named), {c: named.count(c) for c in named})
        assert seen == set(zip(pane.numbers.group.tolist(), pane.numbers.measure.tolist(), strict=True))


def check_numbers(pane: Pane, group: int, measure: int, values: Any, name: str) -> bool:
    at = np.flatnonzero((pane.numbers.group == group) & (pane.numbers.measure == measure))
    assert len(at) == (1 if len(values) else 0)
    if not len(values):
        return False
    row = int(at[0])
    rows = pane.numbers
    assert (rows.n[row], rows.low[row], rows.high[row]) == (len(values), values.min(), values.max())
    assert rows.mean[row] == pytest.approx(values.mean(), rel=1e-12)
    assert rows.m2[row] == pytest.approx(((values - values.mean()) ** 2).sum(), rel=1e-9, abs=1e-9)
    if name == "constant":
        assert (rows.mean[row], rows.m2[row]) == (0.1, 0)
    bins = np.zeros(BINS, np.int64)
    inside = slice(int(rows.bin_ptr[row]), int(rows.bin_ptr[row + 1]))
    bins[rows.bin_at[inside]] = rows.bin_n[inside]
    if name == "known":
        assert bins.tolist() == np.bincount(bin_values(EDGES.edges, values), minlength=BINS).tolist()
    else:
        assert not bins.any()
        assert sorted(np.concatenate(pane.values[group, measure]).tolist()) == sorted(values.tolist())
    return True


def test_groups_that_are_left_out_leave_nothing_behind() -> None:
    (delta,) = WHOLE[2].deltas([np.arange(N)], KNOWN)
    ids = IdRegistry(
        {("1", ALL_SEGMENTS): 0}, {name: i for i, name in enumerate(("known", "unknown", "constant", "far"))}
    )
    groups = np.array([ids.groups.get(key, -1) for key in zip(delta.version, delta.segment, strict=True)])
    expected, all_ids = merged([delta])[0]
    (start, part), *_ = panes.split(delta)
    pane = Pane(start, [RowIndexCache(ids).placed(part, groups[part.first : part.last])], ids, {})
    assert all_ids.groups["1", ALL_SEGMENTS] == 0
    kept = expected.numbers.group == 0
    np.testing.assert_array_equal(pane.numbers.n, expected.numbers.n[kept])
    np.testing.assert_array_equal(pane.numbers.mean, expected.numbers.mean[kept])
    np.testing.assert_array_equal(pane.numbers.bin_n, expected.numbers.bin_n[: expected.numbers.bin_ptr[kept.sum()]])
    np.testing.assert_array_equal(
        MergeBatch([QueuedPane.of(pane)]).counts, MergeBatch([QueuedPane.of(expected)]).counts[:1]
    )
    assert tallies(pane) == {key: value for key, value in tallies(expected).items() if key[0] == 0}
    assert sorted_values(pane) == {key: value for key, value in sorted_values(expected).items() if key[0] == 0}


def test_no_rows_and_no_columns_make_an_empty_delta() -> None:
    batch = Batch(
        "input",
        Columns(Coded.one("m", 2), np.arange(2), Coded.one("1", 2)),
        np.zeros(2, np.int64),
        np.array([ACCEPTED, LATE]),
    )
    (delta,) = (unpack(raw, Delta) for _, raw in pack_deltas(batch, lambda _: KNOWN))
    assert delta.counts.tolist() == [[1, 0, 1]]
    ((pane, _),) = merged([delta]).values()
    assert len(pane.numbers.n) == 0
    assert pane.tallies() == {}


def test_many_cells_are_counted_as_few_are() -> None:
    cells = 20_000
    rng = np.random.default_rng(7)
    columns = {"a": rng.normal(1e4, 3, 2 * cells), "b": rng.normal(1e4, 3, 2 * cells)}
    columns["b"][::3] = np.nan
    cell, row = np.repeat(np.arange(cells), 2), rng.permutation(2 * cells)
    edges = {"a": EDGES, "b": EDGES}
    many = rows_of(columns, {}, row, cell, KnownBins(edges))[0]
    first = rows_of(columns, {}, row[:200], cell[:200], KnownBins(edges))[0]
    end = len(first.n)
    np.testing.assert_array_equal(many.bin_ptr[: end + 1], first.bin_ptr)
    np.testing.assert_array_equal(many.bin_at[: len(first.bin_at)], first.bin_at)
    np.testing.assert_array_equal(many.bin_n[: len(first.bin_n)], first.bin_n)
    np.testing.assert_array_equal(np.add.reduceat(many.bin_n, many.bin_ptr[:-1]), many.n)


def test_models_that_share_their_columns_have_the_deltas_of_each_alone() -> None:
    """Each with edges and categories of its own, or none; one has no numbers in the block, one no accepted event."""
    parts = [Table(seed).batch(np.arange(N)) for seed in (3, 4, 5, 6)]
    names = ["aware", "ignorant", "empty", "late"]
    for column in parts[2].columns.numeric.values():
        column[:] = np.nan
    parts[3].status[:] = LATE
    for name, part in zip(names, parts, strict=True):
        part.columns.models = Coded.one(name, N)
    known = {"aware": KNOWN, "empty": KnownBins({"far": EDGES}), "late": KNOWN}
    pane, status = np.concatenate([part.pane for part in parts]), np.concatenate([part.status for part in parts])
    together = Batch("input", merge([part.columns for part in parts]), pane, status)

    def deltas(batch: Batch) -> list[tuple[str, bytes]]:
        return list(pack_deltas(batch, lambda model: known.get(model, KnownBins())))

    alone = [delta for part in parts for delta in deltas(part)]
    found = deltas(together)
    assert [name for name, _ in found] == [name for name, _ in alone] == names
    for (name, one), (_, other) in zip(alone, found, strict=True):
        expected, mine = unpack(one, Delta), unpack(other, Delta)
        assert mine.model == name
        assert set(mine.numeric.names) == set(expected.numeric.names)
        edges = dict(zip(expected.numeric.names, expected.numeric.edges, strict=True))
        assert dict(zip(mine.numeric.names, mine.numeric.edges, strict=True)) == edges
        assert_same(merged([mine]), merged([expected]))


def test_a_record_that_is_split_carries_only_its_own_names() -> None:
    n = 4_000
    names = [f"{i:0500d}" for i in range(n)]
    columns = Columns(Coded.one("m", n), np.arange(n), Coded.one("1", n), {}, {"x": Coded.of(names)})
    batch = Batch("input", columns, np.zeros(n, np.int64), np.full(n, ACCEPTED))
    sizes = [len(raw) for _, (_, raw) in zip(range(100), pack_deltas(batch, lambda _: KNOWN), strict=False)]
    assert len(sizes) < 20
    assert max(sizes) <= MAX_RECORD_BYTES


# --- bounded categories ---


def kept(categories: list[str], known: frozenset[str] | None) -> dict[str, int]:
    """Category counts of one cell of one delta."""
    zeros = np.zeros(len(categories), np.int64)
    told = KnownBins({}, {} if known is None else {"x": known})
    _, rows = rows_of({}, {"x": Coded.of(categories)}, np.arange(len(categories)), zeros, told)
    return {rows.categories[code]: int(n) for code, n in zip(rows.code, rows.count, strict=True)}


@examples(15)
@given(st.randoms(use_true_random=False), st.booleans())
def test_the_same_categories_are_kept_whatever_the_order_and_the_batches(rng: Any, aware: bool) -> None:
    known = frozenset({"k1", "k2", "k3"})
    names = [f"n{i}" for i in range(400)]
    column = [*names, *names[:100], *known, "k1", "k1"]
    rng.shuffle(column)
    new = [names[i] for i in keep_order(names, frozenset())[:NEW_CATEGORIES]]
    expected = {name: column.count(name) for name in [*known, *new]}
    assert kept(column, known) == expected
    if aware:  # in two batches: the union of what each keeps holds all that is kept of both, exactly counted
        cut = rng.randrange(len(column))
        a, b = kept(column[:cut], known), kept(column[cut:], known)
        both = {name: a.get(name, 0) + b.get(name, 0) for name in a | b}
        order = keep_order(sorted(both), known)
        chosen = [sorted(both)[i] for i in order[: len(expected)]]
        assert {name: both[name] for name in chosen} == expected


def test_a_worker_that_knows_no_baseline_keeps_more_and_the_same_ones() -> None:
    names = [f"n{i}" for i in range(UNKNOWN_CATEGORIES + 500)]
    found = kept(names, None)
    assert len(found) == UNKNOWN_CATEGORIES
    assert found == kept(names[::-1], None)
    assert found.keys() == {names[i] for i in keep_order(names, frozenset())[:UNKNOWN_CATEGORIES]}


def test_every_cell_has_its_own_bound() -> None:
    cap = NEW_CATEGORIES
    names = [f"n{i}" for i in range(2 * cap)]
    column: list[str | None] = [*names, *names[: cap // 2], "k", *[None] * 10]
    cell = np.repeat([0, 3], [len(names), len(column) - len(names)])
    _, rows = rows_of({}, {"x": Coded.of(column)}, np.arange(len(column)), cell, KnownBins({}, {"x": frozenset({"k"})}))
    assert rows.cell.tolist() == [0, 3]
    assert np.diff(rows.ptr).tolist() == [cap, cap // 2 + 1]
    assert rows.n.tolist() == [cap, cap // 2 + 1]


def test_known_categories_come_first_and_the_order_is_that_of_hashes() -> None:
    names = [f"n{i}" for i in range(50)]
    ordered = [names[i] for i in keep_order(names, frozenset({"n7", "n9"}))]
    assert set(ordered[:2]) == {"n7", "n9"}
    backwards = [names[::-1][i] for i in keep_order(names[::-1], frozenset({"n7", "n9"}))]
    assert ordered == backwards


# --- the wire ---

DTYPES = ("i8", "i4", "u8", "u4", "u2", "f8", "f4", "u1", "?")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (3, 4), (0, 3), (2, 3, 4), ()])
def test_arrays_come_back_as_they_were(dtype: str, shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(2).integers(0, 256, (*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    given = (raw > 99)[..., 0] if dtype == "?" else np.ascontiguousarray(raw).view(dtype)[..., 0]
    given = np.asarray(given)
    found = unpack(pack([given]), list[np.ndarray])[0]
    assert (found.dtype, found.shape, found.tobytes()) == (given.dtype, given.shape, given.tobytes())
    assert not found.flags.writeable


def test_views_and_other_strides_come_back_by_value() -> None:
    base = np.arange(24).reshape(4, 6)
    for view in (base.T, base[::2, ::-3], np.asfortranarray(base), np.broadcast_to(np.int64(3), (2, 2))):
        np.testing.assert_array_equal(unpack(pack([view]), list[np.ndarray])[0], view)


def test_a_delta_comes_back_as_it_was() -> None:
    (delta,) = WHOLE[0].deltas([np.arange(N)], KNOWN)
    assert pack(unpack(pack(delta), Delta)) == pack(delta)


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x90", pack([1, 2]), pack({"model": "m"}), pack([np.arange(3)])])
def test_what_is_no_delta_is_a_format_error(raw: bytes) -> None:
    with pytest.raises(FormatError):
        unpack(raw, Delta)
