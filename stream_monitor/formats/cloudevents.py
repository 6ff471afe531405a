"""`cloudevents`: the Kafka protocol binding of CloudEvents 1.0, in structured and in binary mode.

In binary mode the attributes are headers (`ce_id`, `ce_type` …) and the value is the data. In structured mode the value
is a JSON object that holds both; a header `content-type` that begins with `application/cloudevents` says so. Many
producers leave that header out: a value with a `specversion` then says the same. The data must be the JSON of an event.
Attributes are not read: id, ts and model are those of the data.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec

from stream_monitor.events.decode import MAX_EVENT_BYTES, Event, Reject
from stream_monitor.events.decode import decode as decode_event
from stream_monitor.events.json_text import decode_json
from stream_monitor.formats.contract import Format
from stream_monitor.stages.contract import Headers, Message

NO_CLOUD_EVENT, NO_JSON_DATA = "no_cloudevent", "cloudevent_data"
"""Reasons of dead letters."""
_STRUCTURED, _JSON = "application/cloudevents", ("application/json", "text/json")
_VERSIONS = ("1.0", "0.3")


class _Envelope(msgspec.Struct):
    specversion: str
    datacontenttype: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data_base64: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)


def _text(value: bytes | None, headers: Headers) -> bytes | Reject | None:
    """The data of a CloudEvent, or why there is none."""
    if not value or not value.strip() or len(value) > MAX_EVENT_BYTES:
        return value  # of these the JSON decoder tells the reason
    version = content_type = None
    for name, found in headers:
        if name == "ce_specversion":
            version = _decoded(found)
        elif name.lower() == "content-type":
            content_type = _media_type(_decoded(found))
    if content_type is not None and content_type.startswith(_STRUCTURED):
        return _structured(value, content_type)
    if version is None:
        return _structured(value, "application/cloudevents+json")
    return _binary(value, version, content_type)


def _binary(value: bytes, version: str, content_type: str | None) -> bytes | Reject:
    if version not in _VERSIONS:
        return _unknown(version)
    return value if _is_json(content_type) else _other_data(content_type)


def _structured(value: bytes, content_type: str) -> bytes | Reject:
    if content_type != "application/cloudevents+json":
        return Reject(NO_CLOUD_EVENT, f"content-type {content_type[:80]!r}: one event as JSON is read, no other form")
    try:
        envelope = decode_json(_envelope, value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Reject(NO_CLOUD_EVENT, f"no header ce_specversion, and the value is no CloudEvent: {error}")
    if envelope.specversion not in _VERSIONS:
        return _unknown(envelope.specversion)
    if not _is_json(content := _media_type(envelope.datacontenttype)):
        return _other_data(content)
    if envelope.data_base64 is not None:
        try:
            return base64.b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            return Reject(NO_JSON_DATA, f"data_base64 is no base64: {error}")
    if envelope.data is msgspec.UNSET:
        return Reject(NO_JSON_DATA, "the CloudEvent has no data")
    return bytes(envelope.data)


def _decoded(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")


def _media_type(text: str | None) -> str | None:
    """A content type in lower case, without parameters such as a charset."""
    return None if text is None else text.partition(";")[0].strip().lower()


def _is_json(content_type: str | None) -> bool:
    """Whether data of this type are JSON, as data without a type are."""
    return not content_type or content_type in _JSON or content_type.endswith("+json")


def _unknown(version: str) -> Reject:
    return Reject(NO_CLOUD_EVENT, f"specversion {version[:80]!r} is not read, only {' and '.join(_VERSIONS)}")


def _other_data(content_type: str | None) -> Reject:
    return Reject(NO_JSON_DATA, f"the data is of type {(content_type or '')[:80]!r}, and only JSON is read")


def _decode(role: str, value: bytes | None, headers: Headers) -> Event | Reject:
    text = _text(value, headers)
    return text if isinstance(text, Reject) else decode_event(role, text)


def _texts(messages: Sequence[Message], values: Sequence[bytes]) -> Sequence[bytes]:
    found = (_text(value, message.headers() or ()) for message, value in zip(messages, values, strict=True))
    return [text if isinstance(text, bytes) else b"" for text in found]


CLOUDEVENTS = Format("cloudevents", _text, _decode, _texts)
