"""Remarks: what people say of alerts and models. They change what is drawn and sent, and never what rings."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from stream_monitor.events.contracts import Millis, Name

Text = Annotated[str, Meta(max_length=1_000)]
Person = Annotated[str, Meta(min_length=1, max_length=128)]
IncidentId = Annotated[str, Meta(min_length=1, max_length=64)]


class Acknowledgement(Struct, kw_only=True, tag="acknowledgement", tag_field="remark", omit_defaults=True):
    """Somebody has seen an incident, and says what it was."""

    incident: IncidentId
    ts: Millis
    by: Person
    verdict: Literal["real", "false alarm", "known"] = "real"
    why: Text = ""

    def key(self) -> str:
        """The key of the record: an incident has one acknowledgement, the latest."""
        return f"acknowledgement\x1f{self.incident}"


class Mute(Struct, kw_only=True, tag="mute", tag_field="remark", omit_defaults=True):
    """The alerts that match are drawn as muted and are not sent, from `from_ts` to `until_ts` of event time."""

    id: IncidentId
    ts: Millis
    by: Person
    model: Name
    from_ts: Millis
    until_ts: Millis
    version: Name | None = None
    segment: str | None = None
    measure: str | None = None
    kind: Literal["drift", "limit", "quality", "silence"] | None = None
    why: Text = ""

    def key(self) -> str:
        """The key of the record."""
        return f"mute\x1f{self.id}"


class Annotation(Struct, kw_only=True, tag="annotation", tag_field="remark", omit_defaults=True):
    """Something happened to a model: "deployed v7". The page draws it on the time axis."""

    id: IncidentId
    ts: Millis
    by: Person
    model: Name
    at: Millis
    text: Annotated[str, Meta(min_length=1, max_length=1_000)]

    def key(self) -> str:
        """The key of the record."""
        return f"annotation\x1f{self.id}"


Remark = Acknowledgement | Mute | Annotation

_decoder = msgspec.json.Decoder(Remark)


def read_remark(value: bytes) -> Remark:
    """A remark from JSON.

    Raises:
        msgspec.ValidationError: it is none; the text says why.
    """
    remark: Remark = _decoder.decode(value)
    return remark
