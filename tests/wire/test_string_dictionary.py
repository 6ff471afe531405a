"""Texts of packed lists are numbered by what they say, and broken lists are told."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_monitor.errors import FormatError
from stream_monitor.wire import string_dictionary as texts
from stream_monitor.wire.string_dictionary import number

TEXTS = st.one_of(st.sampled_from(["", "a", "b", "ab", "é", "a" * 8, "a" * 9, "😀", "x" * 31, "x" * 32]), st.text())


@settings(deadline=None)  # the first compiles
@given(st.lists(st.lists(TEXTS, max_size=20), min_size=1, max_size=5))
def test_equal_texts_have_one_number_in_order_of_first_sight(lists: list[list[str]]) -> None:
    found = number([msgspec.msgpack.encode(one) for one in lists])
    everything = [text for one in lists for text in one]
    assert [found.texts[at] for at in found.number.tolist()] == everything
    assert found.texts == list(dict.fromkeys(everything))
    assert [everything[a:b] for a, b in zip(found.first, found.first[1:], strict=False)] == lists


@pytest.mark.parametrize("size", [31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("count", [15, 16, 65_536])
def test_heads_of_all_sizes_are_read(size: int, count: int) -> None:
    texts = ["y" * size, *map(str, range(count - 1))]
    assert number([msgspec.msgpack.encode(texts)]).texts == texts


def test_texts_whose_hashes_meet_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text in one and the same place."""
    monkeypatch.setattr(texts, "_SPREAD", texts._SPREAD * 0)
    names = [f"{i % 50:03}" for i in range(200)]
    found = number([msgspec.msgpack.encode(names)])
    assert [found.texts[at] for at in found.number.tolist()] == names and len(found.texts) == 50


@given(st.lists(TEXTS, max_size=4), st.data())
def test_broken_lists_are_a_format_error_or_lists_of_texts(good: list[str], data: st.DataObject) -> None:
    broken = bytearray(msgspec.msgpack.encode(good))
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    packed = bytes(broken[: data.draw(st.integers(0, len(broken)))])
    try:
        found = number([msgspec.msgpack.encode(["first"]), packed])
    except FormatError:
        with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
            msgspec.msgpack.decode(packed, type=list[str])
        return
    assert [found.texts[at] for at in found.number[1:].tolist()] == msgspec.msgpack.decode(packed, type=list[str])


@pytest.mark.parametrize(
    "head", [b"", b"\xdc\xff", b"\xdd\xff\xff\xff\xff", b"\xdd\x00\x00\x00\x01", b"\x91\xdb\xff\xff\xff\xff"]
)
def test_a_list_that_says_more_than_it_holds_is_a_format_error(head: bytes) -> None:
    with pytest.raises(FormatError):
        number([head])
