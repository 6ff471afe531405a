"""Categories of many tables, added up at once, are those added up row by row."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.errors import FormatError
from stream_monitor.judge.panes import category_counts as tallies
from stream_monitor.judge.panes.category_counts import CountedRows, merge_pair, sum_counts
from stream_monitor.profiles.delta import CategoricalRows
from stream_monitor.wire.msgpack_arrays import pack, unpack

Row = tuple[tuple[int, str], dict[str, int]]
ROWS = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 2), st.sampled_from(["c", "d", "é"])),
        st.dictionaries(st.sampled_from(["", "a", "b", "ü", "x" * 40]), st.integers(1, 10**9)),
    ),
    max_size=5,
)


def counted(rows: list[Row]) -> tuple[CategoricalRows, list[tuple[int, str]]]:
    """A table of these rows as it is read, and the key of each row."""
    sizes = [len(counts) for _, counts in rows]
    categories = [name for _, counts in rows for name in counts]
    table = CategoricalRows(
        names=[], categories=categories, cell=np.zeros(len(rows), "u1"), name=np.zeros(len(rows), "u1"),
        n=np.array([sum(counts.values()) for _, counts in rows], "i8"),
        ptr=np.cumsum([0, *sizes]).astype("u2"), code=np.arange(len(categories)).astype("u1"),
        count=np.array([n for _, counts in rows for n in counts.values()], "u4"),
    )  # fmt: skip
    return unpack(pack(table), CategoricalRows), [key for key, _ in rows]


@pytest.mark.parametrize("dense", [0, 64])
@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=4), st.integers(0, 5))
def test_many_tables_at_once_are_row_by_row(dense: int, parts: list[list[Row]], cut: int) -> None:
    """Each table in two pieces, of which rows of group 0 are left out."""
    tables, rows = [], []
    for at, told in enumerate(parts):
        table, keys = counted(told)
        tables.append(table)
        keys = [(group - 1, name) for group, name in keys]
        rows += [CountedRows(at, 0, keys[:cut]), CountedRows(at, len(keys[:cut]), keys[cut:])]
    was, tallies.DENSE = tallies.DENSE, dense
    try:
        found = sum_counts(tables, rows)
    finally:
        tallies.DENSE = was
    expected: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for told in parts:
        for (group, name), counts in told:
            if group:
                expected[group - 1, name].update(counts)
    assert {key: dict(zip(names, counts, strict=True)) for key, (_, names, counts) in found.items()} == expected
    assert {key: n for key, (n, _, _) in found.items()} == {key: c.total() for key, c in expected.items()}


@pytest.mark.parametrize(
    "broken",
    [
        {"code": [0, 2, 1]},
        {"code": [0, -1, 1]},
        {"ptr": [0, 2]},
        {"ptr": [0, 3, 2]},
        {"ptr": [0, 2, 4]},
        {"count": [1.0, 2.0, 3.0]},
    ],
)
def test_a_table_that_points_beyond_itself_is_an_error(broken: dict[str, list[int]]) -> None:
    table, keys = counted([((0, "c"), {"a": 1, "b": 2}), ((0, "d"), {"a": 3})])
    table = table.replaced(categories=["a", "b"], code=np.array([0, 1, 0]))
    sum_counts([table, table], [CountedRows(0, 0, keys), CountedRows(1, 0, keys)])
    table = table.replaced(**{name: np.array(column) for name, column in broken.items()})
    with pytest.raises(FormatError):
        sum_counts([table, table], [CountedRows(0, 0, keys), CountedRows(1, 0, keys)])


def test_rows_of_one_key_are_one_tally() -> None:
    assert merge_pair((3, ["a", "b"], [1, 2]), (4, ["b", "c"], [3, 1])) == (7, ["a", "b", "c"], [1, 5, 1])
