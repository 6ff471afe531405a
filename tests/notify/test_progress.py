"""What is committed beside an offset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.errors import FormatError
from stream_monitor.notify.progress import MOST_RUNS, Progress, read_progress, runs_of
from tests.effort import examples


@given(st.lists(st.integers(0, 10**12), unique=True), st.randoms(use_true_random=False))
@examples(200)
def test_what_is_unsent_comes_back_and_fits_in_the_metadata_of_an_offset(worthy: list[int], rng: object) -> None:
    worthy.sort()
    unsent = [offset for offset in worthy if rng.random() < 0.5]  # type: ignore[attr-defined]
    offset = max(worthy, default=0) + 1
    written = Progress(offset, min([offset, *unsent]), runs_of(worthy, unsent))
    read = read_progress(offset, written.metadata())
    assert read == written and len(read.metadata()) < 3_000
    assert all(read.is_unsent(one) for one in unsent)
    if len(written.unsent) < MOST_RUNS:
        assert {one for one in worthy if read.is_unsent(one)} == set(unsent)


def test_many_runs_become_fewer_and_none_is_lost() -> None:
    worthy = list(range(10**11, 10**11 + 2_000))
    read = read_progress(10**12, Progress(10**12, 5, runs_of(worthy, worthy[::2])).metadata())
    assert len(read.unsent) <= MOST_RUNS and all(read.is_unsent(one) for one in worthy[::2])
    assert len(read.metadata()) < 3_000


def test_metadata_of_others_and_of_newer_versions_is_a_loud_stop() -> None:
    assert read_progress(7, "") == Progress(7, 7)
    with pytest.raises(FormatError, match="none of ours"):
        read_progress(7, "x")
    with pytest.raises(FormatError, match="upgrade first"):
        read_progress(7, '{"format": 2, "low": 3}')
