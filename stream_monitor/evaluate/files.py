"""A user's own labelled stream: NDJSON or CSV with `value`, and optionally `change` (1 where something changed)."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.types import F64, Bool

CHANGE = {"0": False, "1": True, "0.0": False, "1.0": True, "False": False, "True": True}
"""What `change` may be: a number or truth of JSON, or its text in a CSV file."""


def read(path: Path) -> tuple[F64, Bool]:
    """Values and changes, in the order of the file. FormatError names the line that is wrong."""
    values, changes, line = list[float](), list[bool](), 0

    def counted(lines: Iterable[str]) -> Iterator[str]:
        nonlocal line
        for text in lines:
            line += 1
            yield text

    with path.open(encoding="utf-8", newline="") as lines:
        texts = counted(lines)
        is_csv = path.suffix.lower() == ".csv"
        records: Iterator[Any] = csv.DictReader(texts) if is_csv else map(json.loads, filter(str.strip, texts))
        try:
            for record in records:
                values.append(float(record["value"]))
                changes.append(CHANGE[str(record.get("change") or 0)])
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}, after line {line}: not UTF-8 ({error.reason})") from error
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            why = f"must have a number `value`, and 0 or 1 as `change` if any ({error!r})"
            raise FormatError(f"{path}, line {line}: {why}") from error
    if not values:
        raise FormatError(f"{path} has no records")
    if not np.isfinite(values).all():
        raise FormatError(f"{path}: a value is not finite")
    return np.array(values, float), np.array(changes, np.bool_)
