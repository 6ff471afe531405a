"""A user's own labelled stream: NDJSON or CSV with `value`, and optionally `change` (1 where something changed)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from stream_monitor.errors import FormatError
from stream_monitor.types import F64, Bool


def read(path: Path) -> tuple[F64, Bool]:
    """Values and changes, in the order of the file. FormatError names the line that is wrong."""
    values, changes = [], []
    with path.open(encoding="utf-8", newline="") as lines:
        is_csv = path.suffix.lower() == ".csv"
        records = csv.DictReader(lines) if is_csv else (json.loads(line) for line in lines if line.strip())
        number = 1 if is_csv else 0
        try:
            for record in records:
                number += 1
                values.append(float(record["value"]))
                changes.append(int(record.get("change") or 0) != 0)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"{path}, record {number + (not is_csv)}: no number `value` ({error!r})") from error
    if not np.isfinite(values).all():
        raise FormatError(f"{path}: a value is not finite")
    return np.array(values, float), np.array(changes, np.bool_)
