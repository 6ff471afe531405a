"""Events in CSV and Parquet files: a row is a prediction, and a label too where it has one.

Columns named as the fields of a prediction (`id`, `model`, `version`, `ts`, `prediction`, `probabilities`,
`latency_ms`, `decided_by`, `human_prediction`) are these; `label` is the truth; `tags.x` a tag; every other column
a feature, with or without the prefix `features.`.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from stream_monitor.errors import TableError
from stream_monitor.events.decode import EARLIEST

SUFFIXES = (".csv", ".parquet")
_FIELDS = ("prediction", "probabilities", "latency_ms", "decided_by", "human_prediction", "features", "tags")
_TEXTS = ("id", "model", "version")
"""Columns that are names: as numbers, ids of 17 digits would be the same one."""
_PREFIXES = "features.", "tags."
_MOST_MS = 2**53
"""Whole numbers beyond are not exact in JSON of other makers, and no time is there."""
_FLAGS = {"true": True, "false": False}

Row = dict[str, Any]


def read_table(
    path: Path, owner: tuple[str | None, str | None], text: Collection[str], limit: int
) -> Iterator[tuple[str, bytes]]:
    """(role, raw event) of the first `limit` rows; `owner` is the (model, version) of rows that name none."""
    defaults = dict(zip(("model", "version"), owner, strict=True))
    rows = _parquet_rows(path, limit) if path.suffix == ".parquet" else _csv_rows(path, text, limit)
    for number, row in enumerate(rows):
        yield from _events(path, number, row, defaults)


def _events(path: Path, number: int, row: Row, defaults: Row) -> Iterator[tuple[str, bytes]]:
    given = {name: row.pop(name, None) for name in ("id", "model", "version", "ts", "label")}
    event: Row = {name: row.pop(name) for name in _FIELDS if row.get(name) is not None}
    event["id"] = str(number if given["id"] is None else given["id"])
    event["ts"] = _millis(path, number, given["ts"])
    for name, default in defaults.items():
        value = given[name] if given[name] is not None else default
        if value is not None:
            event[name] = str(value)
    tags, features = (_mapping(path, number, event, name) for name in ("tags", "features"))
    for name, value in row.items():
        into, short = (tags, name[5:]) if name.startswith("tags.") else (features, name.removeprefix("features."))
        if short in into:
            raise TableError(f"{path}: {short!r} is a column and a part of another one: which of them is meant?")
        if value is not None or into is tags:
            into[short] = value
    yield "predictions", _encode(event)
    if given["label"] is not None:
        yield "labels", _encode({"id": event["id"], "ts": event["ts"], "label": given["label"]})


def _mapping(path: Path, number: int, event: Row, name: str) -> Row:
    found = event.setdefault(name, {})
    if not isinstance(found, dict):
        raise TableError(f"{path}, row {number + 1}: a column {name!r} holds {name} by name, and this is none of these")
    return found


def _require_distinct(path: Path, header: Collection[str]) -> None:
    """TableError where two columns would be the same field, feature or tag: the last would win in silence."""
    seen: dict[str, str] = {}
    for name in header:
        short = name.removeprefix("features.")
        column = name if short in (*_FIELDS, *_TEXTS, "ts", "label") or short.startswith(_PREFIXES) else short
        if column in seen:
            columns = (
                f"{name!r} twice" if seen[column] == name else f"{seen[column]!r} and {name!r}, which are the same"
            )
            raise TableError(f"{path} has columns {columns}: rename one, or leave it out")
        seen[column] = name


def _encode(event: Row) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_SERIALIZE_NUMPY)


def _millis(path: Path, number: int, value: Any) -> int:
    """Epoch milliseconds of a number or a date; without one the rows keep their order."""
    try:
        match value:
            case None:
                return EARLIEST + number
            case str():
                value = dt.datetime.fromisoformat(value)
            case int() | float():
                if not abs(value) < _MOST_MS:
                    raise ValueError("out of range")
                return int(value)
            case dt.datetime():
                pass
            case dt.date():
                value = dt.datetime(value.year, value.month, value.day)
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return int(aware.timestamp() * 1000)
    except (ValueError, AttributeError, ArithmeticError) as error:
        raise TableError(
            f"{path}, row {number + 1}: ts {str(value)[:40]!r} is neither epoch milliseconds nor a date"
        ) from error


def _csv_rows(path: Path, text: Collection[str], limit: int) -> Iterable[Row]:
    """Rows with typed values: a column is numeric (or true/false) when all its values are, and text otherwise."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            table = [row for _, row in zip(range(limit), reader, strict=False) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is no CSV file in UTF-8: {error}") from error
    _require_distinct(path, header)
    for number, row in enumerate(table):
        if len(row) != len(header):
            raise TableError(f"{path}, row {number + 1} has {len(row)} values, the header has {len(header)}")
    for name in text:
        if name not in header:
            raise TableError(f"{path} has no column {name!r}; it has {', '.join(header)}")
    columns = [_typed([row[at] for row in table], name in text or name in _TEXTS) for at, name in enumerate(header)]
    return (dict(zip(header, values, strict=True)) for values in zip(*columns, strict=True))


def _typed(values: list[str], text: bool) -> list[Any]:
    kinds: list[Callable[[str], Any]] = [] if text else [lambda v: _FLAGS[v.lower()], _number]
    for kind in kinds:
        try:
            return [None if value == "" else kind(value) for value in values]
        except (KeyError, ValueError):
            continue
    return [None if value == "" else value for value in values]


def _number(text: str) -> float | int | None:
    value = float(text)
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _parquet_rows(path: Path, limit: int) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet  # the extra `parquet`: 170 MB that only this needs
    except ImportError:
        raise TableError(f"{path}: reading Parquet needs pyarrow; pip install 'stream-monitor[parquet]'") from None
    try:
        with parquet.ParquetFile(path) as file:
            _require_distinct(path, file.schema_arrow.names)
            for batch in file.iter_batches(10_000):
                for row in _to_the_microsecond(batch.slice(0, limit)).to_pylist():
                    yield {name: _plain(name, value) for name, value in row.items()}
                limit -= min(limit, len(batch))
                if not limit:
                    break
    except (OSError, ArrowException) as error:
        raise TableError(f"{path} is no Parquet file: {error}") from error
    except (ValueError, OverflowError) as error:  # times that Python has not
        raise TableError(f"{path} holds a value that cannot be read: {error}") from error


def _to_the_microsecond(batch: Any) -> Any:
    """Python has no nanoseconds, and what is measured needs none."""
    from pyarrow import RecordBatch, types
    from pyarrow import timestamp as time_of

    columns = [
        column.cast(time_of("us", column.type.tz), safe=False)
        if types.is_timestamp(column.type) and column.type.unit == "ns"
        else column
        for column in batch.columns
    ]
    return RecordBatch.from_arrays(columns, names=batch.schema.names)


def _plain(name: str, value: Any) -> Any:
    """JSON has no NaN: it is a missing value. A decimal number is a number, unless it is a name."""
    if isinstance(value, Decimal) and name not in _TEXTS:
        value = float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
