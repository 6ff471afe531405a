"""Categories of many panes, added up at once, are those added up pane by pane."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.judge import tallies
from stream_monitor.judge.tallies import Counted, add_counted

ROWS = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 2), st.sampled_from(["c", "d", "é"])),
        st.dictionaries(st.sampled_from(["", "a", "b", "ü", "x" * 40]), st.integers(1, 10**9)),
    ),
    max_size=5,
)


def counted(rows: list[tuple[tuple[int, str], dict[str, int]]]) -> Counted:
    categories = [name for _, counts in rows for name in counts]
    sizes = [len(counts) for _, counts in rows]
    ns = [n for _, counts in rows for n in counts.values()]
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    code = np.arange(len(categories)).astype(np.uint16)
    n = [sum(counts.values()) for _, counts in rows]
    return Counted([key for key, _ in rows], n, ptr, code, np.array(ns, np.uint32), categories)


@pytest.mark.parametrize("dense", [0, 64])
@given(st.lists(ROWS, min_size=1, max_size=4))
def test_many_panes_at_once_are_pane_by_pane(dense: int, parts: list) -> None:
    was, tallies.DENSE = tallies.DENSE, dense
    try:
        found = add_counted([counted(rows) for rows in parts])
    finally:
        tallies.DENSE = was
    expected: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for rows in parts:
        for key, counts in rows:
            expected[key].update(counts)
    assert {key: dict(zip(names, counts, strict=True)) for key, (_, names, counts) in found.items()} == expected
    assert {key: n for key, (n, _, _) in found.items()} == {key: c.total() for key, c in expected.items()}


@given(ROWS)
def test_rows_of_one_key_are_one_tally(rows: list[tuple[tuple[int, str], dict[str, int]]]) -> None:
    expected: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for key, counts in rows:
        expected[key].update(counts)
    found = {key: dict(zip(names, ns, strict=True)) for key, (_, names, ns) in counted(rows).tallies().items()}
    assert found == expected
