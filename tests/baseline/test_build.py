"""Baselines of files: the same from every format, kept whole on disk, and judged by from the first window on."""

from __future__ import annotations

import csv
import datetime as dt
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from typer.testing import CliRunner

from stream_monitor.baseline.build import build, read_events
from stream_monitor.baseline.show import active, summary_table
from stream_monitor.baselines.pinned import PinnedBaseline, read_file, write_file
from stream_monitor.cli.main import app
from stream_monitor.errors import FormatError, TableError
from stream_monitor.file_replay import replay
from stream_monitor.stages.contract import Output
from tests.screens import shown
from tests.streams import T0, quick_settings

RULES = quick_settings(segments=[["country"]])
ROWS = 1_200


def rows(seed: int = 1, shift: float = 0.0) -> list[dict[str, Any]]:
    """A table of training data, a fifth of `age` missing."""
    rng = random.Random(seed)
    return [
        {
            "id": f"r{i}",
            "model": "fraud",
            "ts": T0 + i * 50,
            "amount": rng.gauss(10 + shift, 2),
            "age": None if rng.random() < 0.2 else rng.randrange(18, 90),
            "country": rng.choice(["DE", "FR"]),
            "prediction": rng.random() < 0.3,
            "label": rng.random() < 0.3,
        }
        for i in range(ROWS)
    ]


def write_ndjson(path: Path, table: list[dict[str, Any]]) -> Path:
    with path.open("w") as file:
        for row in table:
            features = {name: row[name] for name in ("amount", "age", "country") if row[name] is not None}
            told = {name: row[name] for name in ("id", "model", "ts", "prediction")}
            file.write(json.dumps(told | {"features": features}) + "\n")
            file.write(json.dumps({"id": row["id"], "ts": row["ts"], "label": row["label"]}) + "\n")
    return path


def write_csv(path: Path, table: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


def write_parquet(path: Path, table: list[dict[str, Any]]) -> Path:
    parquet.write_table(pa.Table.from_pylist(table), path)
    return path


WRITERS = {"ndjson": write_ndjson, "csv": write_csv, "parquet": write_parquet}


def built_of(path: Path, **options: Any) -> PinnedBaseline:
    events = read_events([path], (options.get("model"), None), options.get("text", ()), options.get("limit", 10**6))
    (baseline,) = build(RULES, events, "training", options.get("version")).baselines
    return baseline


def as_json(baseline: PinnedBaseline, path: Path) -> bytes:
    write_file(path, [baseline])
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_every_format_gives_the_same_baseline(suffix: str, tmp_path: Path) -> None:
    expected = as_json(built_of(write_ndjson(tmp_path / "t.ndjson", rows())), tmp_path / "expected.json")
    found = built_of(WRITERS[suffix](tmp_path / f"t.{suffix}", rows()))
    assert as_json(found, tmp_path / "found.json") == expected


def test_a_baseline_counts_every_value_of_the_file(tmp_path: Path) -> None:
    table = rows()
    baseline = built_of(write_csv(tmp_path / "t.csv", table))
    found = {(m.timeline, m.segment, m.measure): m for m in baseline.measures}
    amount = found["input", "all", "amount"].baseline
    values = np.array([row["amount"] for row in table])
    assert amount.counts is not None
    assert (amount.n, amount.events, int(amount.counts.sum())) == (ROWS, ROWS, ROWS)
    assert (amount.mean, amount.std) == pytest.approx((values.mean(), values.std()))
    present = [row for row in table if row["age"] is not None and row["country"] == "DE"]
    assert found["input", "country=DE", "age"].baseline.n == len(present)
    assert found["input", "country=DE", "age"].baseline.events == sum(row["country"] == "DE" for row in table)
    countries = Counter(row["country"] for row in table)
    assert found["input", "all", "country"].baseline.categories == countries
    wrong = sum(row["label"] != row["prediction"] for row in table)
    error = found["label", "all", "error"].baseline
    assert (error.n, round(error.mean * error.n)) == (ROWS, wrong)


def test_a_file_of_baselines_comes_back_as_it_was(tmp_path: Path) -> None:
    baseline = built_of(write_csv(tmp_path / "t.csv", rows()))
    written = as_json(baseline, tmp_path / "a.json")
    (again,) = read_file(tmp_path / "a.json")
    assert as_json(again, tmp_path / "b.json") == written


def test_a_pinned_baseline_judges_the_first_window(tmp_path: Path) -> None:
    pinned = built_of(write_csv(tmp_path / "t.csv", rows()))
    shifted = list(read_events([write_ndjson(tmp_path / "now.ndjson", rows(2, 2.0))], (None, None), (), 10**6))
    alerts: list[dict[str, Any]] = []

    def publish(output: Output) -> None:
        if output.role == "alerts":
            alerts.append(json.loads(output.value))

    replay(RULES, shifted, publish)
    assert min((a["ts"] for a in alerts if a["measure"] == "amount"), default=T0 * 2) > T0 + 20_000
    alerts.clear()
    replay(RULES, shifted, publish, [pinned])
    opened = [a for a in alerts if a["status"] == "open" and a["segment"] == "all"]
    assert {a["measure"] for a in opened} == {"amount"}
    assert min(a["ts"] for a in opened) <= T0 + 10_000


def test_a_pin_for_one_version_leaves_the_others_alone(tmp_path: Path) -> None:
    pinned = built_of(write_csv(tmp_path / "t.csv", rows()), version="2")
    table = rows(2)
    events: list[tuple[str, bytes]] = []
    for i, row in enumerate(table):
        event = {"id": row["id"], "model": "fraud", "version": "12"[i % 2], "ts": row["ts"], "prediction": True}
        events.append(("predictions", json.dumps(event | {"features": {"amount": row["amount"]}}).encode()))
    names: dict[str, set[str]] = {"1": set(), "2": set()}

    def publish(output: Output) -> None:
        if output.role == "metrics":
            metric = json.loads(output.value)
            names[metric["version"]] |= {metric["baseline"]} if "baseline" in metric else set()

    replay(RULES, events, publish, [pinned])
    assert names == {"1": {"first-100"}, "2": {"training"}}


def test_dates_and_missing_columns_are_understood(tmp_path: Path) -> None:
    day = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    table = [{"ts": (day + dt.timedelta(minutes=i)).isoformat(), "zip": f"{10115 + i % 3}"} for i in range(200)]
    path = write_csv(tmp_path / "t.csv", table)
    assert {m.measure for m in built_of(path, model="m").measures} == {"zip", "null_answer"}
    number = {m.measure: m for m in built_of(path, model="m").measures}["zip"]
    name = {m.measure: m for m in built_of(path, model="m", text=("zip",)).measures}["zip"]
    assert number.borders is not None and number.baseline.categories is None
    assert name.borders is None and name.baseline.categories is not None
    assert set(name.baseline.categories) == {"10115", "10116", "10117"}


def test_only_so_many_rows_are_read(tmp_path: Path) -> None:
    for suffix, write in WRITERS.items():
        baseline = built_of(write(tmp_path / f"t.{suffix}", rows()), limit=100)
        assert max(m.baseline.events for m in baseline.measures) <= 100


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", b"id,x\n1,2,3\n", "row 1 has 3 values"),
        ("a.csv", b"id,ts\n1,yesterday\n", "'yesterday' is neither"),
        ("a.csv", b"\xff\xfe\x00", "no CSV file"),
        ("a.csv", b"", "no event could be used"),
        ("a.parquet", b"PAR0", "no Parquet file"),
        ("a.ndjson", b"{}\n", r"read were 1 predictions\n.*1 .*contract; the first: Object missing required field"),
    ],
)
def test_files_that_cannot_be_read_are_explained(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=told):
        built_of(path)


def first_measure(file: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = file["baselines"][0]["measures"][0]
    return found


HURTS = {
    "format": lambda file: file.update(format=99),
    "nothing in it": lambda file: file.pop("baselines"),
    "borders": lambda file: first_measure(file)["borders"].reverse(),
    "counts": lambda file: first_measure(file)["baseline"].update(counts=[1, 2]),
    "words": lambda file: first_measure(file)["baseline"].update(counts=["a"] * 160),
}


@pytest.mark.parametrize("hurt", HURTS)
def test_a_doctored_file_is_refused(hurt: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    file = json.loads(as_json(built_of(write_csv(tmp_path / "t.csv", rows())), path))
    HURTS[hurt](file)
    path.write_text(json.dumps(file))
    with pytest.raises(FormatError, match=r"a\.json"):
        read_file(path)


def test_the_command_line_builds_shows_and_replays(tmp_path: Path) -> None:
    run = CliRunner().invoke
    training, now = write_parquet(tmp_path / "june.parquet", rows()), write_ndjson(tmp_path / "july.ndjson", rows(2))
    out = tmp_path / "june.json"
    assert run(app, ["baseline", "build", "--from", str(training), "--out", str(out)]).exit_code == 0
    shown = run(app, ["baseline", "show", str(out)]).stdout
    assert "pinned-june" in shown and "amount" in shown
    result = tmp_path / "result.ndjson"
    assert run(app, ["replay", str(now), "--baseline", str(out), "--out", str(result)]).exit_code == 0
    assert "pinned-june" in result.read_text()


def test_the_list_has_a_row_for_every_model_version_segment_and_kind(tmp_path: Path) -> None:
    told: list[bytes] = []

    def publish(output: Output) -> None:
        if output.role == "baselines":
            told.append(output.value)

    events = list(read_events([write_ndjson(tmp_path / "t.ndjson", rows())], (None, None), (), ROWS * 2))
    pinned = built_of(write_csv(tmp_path / "june.csv", rows()))
    replay(RULES, events, publish)
    first = printed(summary_table(active(told), "rolling"))
    replay(RULES, events, publish, [pinned])
    both = printed(summary_table(active(told), "first"))
    assert [line[:3] for line in first] == [
        ["fraud", "all", "all"],
        *[["fraud", "all", f"country={c}"] for c in ("DE", "FR")],
    ]
    assert all(line[5:8] == ["first-100,", "then", "rolling"] for line in first)
    assert {line[5] for line in both} == {pinned.name}


def printed(table: Any) -> list[list[str]]:
    """Words of each row."""
    return [line.split() for line in shown([table], 200).splitlines()[2:]]
