"""CSV and Parquet files: what cannot be read is told in a sentence, and nothing is dropped in silence."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from stream_monitor.errors import TableError
from stream_monitor.events.files import read_table

TIME = 1_700_000_000_000


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(raw) for _, raw in read_table(path, ("m", None), (), 1_000)]


def csv(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "rows.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def written(tmp_path: Path, **columns: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.mark.parametrize(
    "ts", ["1" * 30, "-" + "1" * 30, "1" * 400, "1e300", "0001-01-01T00:00:00+23:59", "9" * 5_000, "yesterday"]
)
def test_a_time_that_is_none_is_told(tmp_path: Path, ts: str) -> None:
    file = csv(tmp_path, f"ts,x\n{ts},1\n")
    try:
        found = events(file)
    except TableError as error:
        assert "row 1: ts" in str(error) and len(str(error)) < 250
    else:  # beyond the floats it is no number at all, and a year 1 is a dead letter of describe
        assert -(2**53) < found[0]["ts"] < 2**53


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("x,x", "'x' twice"),
        ("x,features.x", "'x' and 'features.x', which are the same"),
        ("tags.a,tags.a", "'tags.a' twice"),
        ("ts,ts", "'ts' twice"),
        (",", "'' twice"),
    ],
)
def test_two_columns_of_one_name_are_refused(tmp_path: Path, header: str, told: str) -> None:
    with pytest.raises(TableError, match=told):
        events(csv(tmp_path, f"{header}\n1,2\n"))


def test_columns_that_look_alike_and_are_not_are_kept_apart(tmp_path: Path) -> None:
    event = events(csv(tmp_path, "prediction,features.prediction,features.features.x,x,tags.x\n1,2,3,4,5\n"))[0]
    assert event["prediction"] == 1
    assert event["features"] == {"prediction": 2, "features.x": 3, "x": 4}
    assert event["tags"] == {"x": 5}


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["x", "x"])
    parquet.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(TableError, match="'x' twice"):
        events(tmp_path / "rows.parquet")


def test_long_ids_stay_apart(tmp_path: Path) -> None:
    names = ["9007199254740993", "9007199254740992", "007"]
    rows = "".join(f"{name},1\n" for name in names)
    assert [event["id"] for event in events(csv(tmp_path, f"id,x\n{rows}"))] == names
    file = written(tmp_path, id=[Decimal(names[0]), Decimal(names[1])])
    assert [event["id"] for event in events(file)] == names[:2]


def test_a_column_features_that_holds_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="column 'features' holds features by name"):
        events(csv(tmp_path, "features,x\n5,1\n"))


def test_a_feature_that_is_given_twice_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="'x' is a column and a part of another one"):
        events(written(tmp_path, features=[{"x": 1}], x=[2]))


def test_times_of_parquet_in_any_unit(tmp_path: Path) -> None:
    moment = dt.datetime.fromtimestamp(TIME / 1000, dt.UTC)
    for unit in ("s", "ms", "us", "ns"):
        column = pyarrow.array([moment], pyarrow.timestamp(unit, "UTC"))
        assert events(written(tmp_path, ts=column))[0]["ts"] == TIME
    odd = pyarrow.array([TIME * 1_000_000 + 1], pyarrow.timestamp("ns"))
    assert events(written(tmp_path, ts=odd))[0]["ts"] == TIME
    for column in ([Decimal(TIME)], [float(TIME)], pyarrow.array([TIME], pyarrow.uint64())):
        assert events(written(tmp_path, ts=column))[0]["ts"] == TIME


def test_times_that_python_has_not_are_told(tmp_path: Path) -> None:
    column = pyarrow.array([2**62], pyarrow.timestamp("ms"))
    with pytest.raises(TableError, match="holds a value that cannot be read"):
        events(written(tmp_path, ts=column))


def test_decimal_numbers_are_numbers_and_what_is_not_finite_is_missing(tmp_path: Path) -> None:
    file = written(tmp_path, x=[Decimal("1.5")], y=[float("nan")], z=[float("-inf")], big=[2**63 - 1])
    assert events(file)[0]["features"] == {"x": 1.5, "big": 2**63 - 1}


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfx\n1\n", b"x\n\n1\n", b"x\r\n1\r\n"])
def test_marks_and_blank_lines_are_nothing(tmp_path: Path, text: bytes) -> None:
    assert events(csv(tmp_path, text))[0]["features"] == {"x": 1}


@pytest.mark.parametrize(
    "text",
    [b"", b"x", b"\xff\xfex\x00", b"x\n\0\n", b'x\n"open', b"x\n" + b"1" * 200_000, b"x\n1,2\n", b"x\n" + b"1" * 5_000],
)  # fmt: skip
def test_bytes_that_nobody_meant_are_events_or_a_sentence(tmp_path: Path, text: bytes) -> None:
    try:
        events(csv(tmp_path, text))
    except TableError as error:
        assert "rows.csv" in str(error)
