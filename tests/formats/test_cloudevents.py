"""CloudEvents on the real way of a record: what is counted is what plain JSON of the same events gives."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest

from stream_monitor.config.settings import FormatName, Settings
from stream_monitor.describe.rekey import Rekey
from stream_monitor.errors import SettingsError
from stream_monitor.events.contracts import DeadLetter
from stream_monitor.file_replay import Driver
from stream_monitor.formats.registry import FORMATS
from stream_monitor.kafka.in_memory import MemoryBroker, MemoryClient, MemoryRecord
from stream_monitor.profiles.bin_catalog import BinCatalog
from stream_monitor.stages.contract import Headers, Output
from stream_monitor.stages.topology import Topology
from tests.streams import T0, quick_settings, shop

Wrap = Callable[[bytes], tuple[bytes, Headers]]
BINARY: Headers = (
    ("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_type", b"t"), ("ce_source", b"/s"),
    ("content-type", b"application/json; charset=utf-8"),
)  # fmt: skip
STRUCTURED: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


def envelope(raw: bytes, field: str = "data") -> bytes:
    data = raw.decode() if field == "data" else json.dumps(base64.b64encode(raw).decode())
    return f'{{"specversion":"1.0","id":"7","type":"t","source":"/s","{field}":{data},"more":[1]}}'.encode()


WRAPS: dict[str, Wrap] = {
    "binary": lambda raw: (raw, BINARY),
    "structured": lambda raw: (envelope(raw), STRUCTURED),
    "structured, no header": lambda raw: (envelope(raw), ()),
    "base64": lambda raw: (envelope(raw, "data_base64"), STRUCTURED),
}


def settings(name: str) -> Settings:
    return quick_settings(topics={"formats": dict.fromkeys(("predictions", "labels", "feedback"), name)})


def described(name: str, wrap: Wrap, events: list[tuple[str, bytes]]) -> list[Output]:
    """What describe publishes of events that its topics hold in this form, in batches as a consumer gives them."""
    driver, outputs, at = Driver(settings(name), BinCatalog(), Topology(1, 1, 1)), list[Output](), 0
    for start in range(0, len(events), 700):
        batch = events[start : start + 700]
        for role in ("predictions", "labels", "feedback"):
            records = []
            for kind, raw in batch:
                if kind == role:
                    value, headers = wrap(raw)
                    records.append(MemoryRecord(value, 0, at, T0 * 2, b"k", None, False, headers))
                    at += 1
            driver.take(role, records)
        outputs += driver.commit(())
    return outputs


EVENTS = [(event.role, event.raw) for event in shop(2, 1_500)]


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_all_modes_describe_what_plain_json_describes(wrap: Wrap) -> None:
    plain = described("json", lambda raw: (raw, ()), EVENTS)
    assert {output.role for output in plain} >= {"profiles", "pending"}
    assert described("cloudevents", wrap, EVENTS) == plain


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_what_is_wrong_with_the_data_is_told_as_of_plain_json(wrap: Wrap) -> None:
    bad = [("predictions", raw) for raw in (b'{"id":"x"}', b'{"id":"x","ts":5,"prediction":1}', b"[]", b"17")]
    plain = letters_of(described("json", lambda raw: (raw, ()), bad))
    assert len(plain) == len(bad)
    assert letters_of(described("cloudevents", wrap, bad)) == plain


def letters_of(outputs: list[Output]) -> list[tuple[str, str]]:
    letters = [msgspec.json.decode(o.value, type=DeadLetter) for o in outputs if o.role == "dead-letters"]
    return [(letter.reason, letter.error) for letter in letters]


GOOD = b'{"id":"x","ts":1760000000000,"prediction":1}'
WRONG: list[tuple[bytes, Headers, str, str]] = [
    (GOOD, (), "no_cloudevent", "no header ce_specversion, and the value is no CloudEvent"),
    (b"{", (), "no_cloudevent", "the value is no CloudEvent"),
    (b"\xff", STRUCTURED, "no_cloudevent", "the value is no CloudEvent"),
    (GOOD, (("ce_specversion", b"9"),), "no_cloudevent", "specversion '9' is not read"),
    (GOOD, (("ce_specversion", None),), "no_cloudevent", "specversion '' is not read"),
    (b'{"specversion":"2.0","data":{}}', STRUCTURED, "no_cloudevent", "specversion '2.0' is not read"),
    (GOOD, (("content-type", b"application/cloudevents-batch+json"),), "no_cloudevent", "one event as JSON is read"),
    (GOOD, (*BINARY[:1], ("content-type", b"avro/binary")), "cloudevent_data", "of type 'avro/binary'"),
    (b'{"specversion":"1.0"}', STRUCTURED, "cloudevent_data", "has no data"),
    (b'{"specversion":"1.0","data_base64":"?"}', STRUCTURED, "cloudevent_data", "no base64"),
    (b'{"specversion":"1.0","datacontenttype":"text/xml","data":"<a/>"}', (), "cloudevent_data", "of type 'text/xml'"),
    (b'{"specversion":"1.0","data":"{}"}', (), "contract", "Expected `object`, got `str`"),
    (b" ", BINARY, "blank", "the record is empty"),
    (b"{" + b" " * 1_000_001, BINARY, "too_large", "at most 1000000 are read"),
    (b'{"a":' * 100_000, STRUCTURED, "no_cloudevent", ""),
]


@pytest.mark.parametrize(("value", "headers", "reason", "said"), WRONG)
@pytest.mark.parametrize("role", ["predictions", "labels", "feedback"])
def test_what_is_no_cloudevent_is_a_dead_letter_with_its_reason(
    role: str, value: bytes, headers: Headers, reason: str, said: str
) -> None:
    driver = Driver(settings("cloudevents"), BinCatalog(), Topology(1, 1, 1))
    driver.take(role, [MemoryRecord(value, 0, 0, T0, b"k", None, False, headers)])
    ((found, error),) = letters_of(driver.commit(()))
    assert found == reason and said in error
    assert driver.describe.buffered_bytes == 0


def test_a_buffer_is_as_large_as_the_records_were() -> None:
    value, headers = WRAPS["structured"](GOOD)
    driver = Driver(settings("cloudevents"), BinCatalog(), Topology(1, 1, 1))
    driver.take("predictions", [MemoryRecord(value, 0, at, T0, b"k", None, False, headers) for at in range(5)])
    assert driver.describe.buffered_bytes == 5 * len(value)


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_rekey_finds_the_id_in_the_data_and_keeps_value_and_headers(wrap: Wrap) -> None:
    value, headers = wrap(b'{"id":"x","label":1}')
    stage = Rekey(settings("cloudevents"))
    stage.process("labels", [MemoryRecord(value, 0, 0, T0, b"other", None, False, headers)])
    (output,) = stage.flush({})
    assert (output.role, output.key, output.value, tuple(output.headers)) == ("labels-by-id", b"x", value, headers)


def test_a_broker_keeps_headers() -> None:
    broker = MemoryBroker({"labels": 1}, lambda: T0)
    broker.append("labels", b"1", headers=BINARY)
    outputs = [Output("labels", b"2", headers=STRUCTURED), Output("labels", b"3")]
    client = MemoryClient(broker, "g")
    client.group.generation = -1  # a member of no group, which nobody fences
    client.transact(outputs, lambda _: {})
    records, _ = broker.visible(("labels", 0), 0, 10)
    assert [tuple(record.headers()) for record in records] == [BINARY, STRUCTURED, ()]


def test_the_settings_name_the_formats_that_there_are() -> None:
    assert set(get_args(FormatName)) == FORMATS.keys()
    wrong: list[dict[str, Any]] = [{"alerts": "json"}, {"predictions": "avro"}]
    for formats in wrong:
        with pytest.raises(SettingsError, match=r"topics\.formats|no topic role"):
            quick_settings(topics={"formats": formats})
