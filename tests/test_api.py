"""The Python API: what the package itself names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib.metadata import version

import pytest

import stream_monitor
from stream_monitor import Alert, DeadLetter, Event, Label, Metric, Prediction
from stream_monitor.errors import SettingsError
from tests.patience import PATIENCE_S
from tests.streams import T0, quick_settings, shop

HEAVY = ("numba", "scipy", "confluent_kafka", "pydantic", "river", "rich", "prometheus_client")


def test_all_that_is_named_is_there_and_typed() -> None:
    assert all(hasattr(stream_monitor, name) for name in stream_monitor.__all__)
    assert sorted(stream_monitor.__all__) == sorted(set(stream_monitor.__all__))


def test_the_version_is_that_of_the_distribution() -> None:
    assert stream_monitor.__version__ == version("stream-monitor")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, stream_monitor; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout == "[]\n"


def test_a_replay_yields_the_records_that_the_stages_publish_whatever_an_event_is() -> None:
    events = [event.raw for event in shop(3, 600)]
    found = list(stream_monitor.replay(events, quick_settings()))
    kinds = Counter(type(record) for record in found)
    assert kinds[Alert] > 0 and kinds[Metric] > 0 and kinds[DeadLetter] == 0
    assert found == list(stream_monitor.replay(map(json.loads, events), quick_settings()))


def test_contracts_are_events_and_what_cannot_be_counted_comes_back() -> None:
    events: list[Event] = [
        Prediction(id="a", ts=T0, model="m", prediction="yes"),
        Label(id="a", ts=T0 + 1, label="no"),
        b"no event",
        {"id": "b", "ts": 1, "model": "m"},
    ]
    found = list(stream_monitor.replay(events, quick_settings()))
    letters = [record.reason for record in found if isinstance(record, DeadLetter)]
    assert sorted(letters) == ["before_2000", "not_json"]
    outcomes = [record for record in found if isinstance(record, Metric) and record.kind == "performance"]
    assert outcomes and outcomes[-1].labelled == 1


def test_wrong_settings_are_told() -> None:
    with pytest.raises(SettingsError, match="pane"):
        stream_monitor.parse_settings({"time": {"pain": "1m"}})
