"""What people said, as far as it changes who is told: mutes and acknowledgements."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from stream_monitor.events.contracts import Alert
from stream_monitor.events.remarks import Acknowledgement, Mute, read_remark
from stream_monitor.notify.incidents import Member

log = logging.getLogger(__name__)

MOST = 10_000
"""Remarks of a kind that are kept; above, the oldest go."""


class RemarkBook:
    """Mutes and acknowledgements that are in force. One thread writes, others read."""

    def __init__(self) -> None:
        self._mutes: dict[bytes, Mute] = {}
        self.acknowledgements: dict[str, Acknowledgement] = {}
        """By incident."""

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take in a record of `remarks`; one without a value withdraws what was said under its key."""
        if value is None:
            self._replace_mutes({k: mute for k, mute in self._mutes.items() if k != key})
            incident = key.decode(errors="replace").removeprefix("acknowledgement\x1f")
            self.acknowledgements = {k: a for k, a in self.acknowledgements.items() if k != incident}
            return
        try:
            remark = read_remark(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("a record on `remarks` is no remark, and was left out: %s", error)
            return
        if isinstance(remark, Mute):
            self._replace_mutes(self._mutes | {key: remark})
        elif isinstance(remark, Acknowledgement):
            kept = list((self.acknowledgements | {remark.incident: remark}).items())[-MOST:]
            self.acknowledgements = dict(kept)

    def _replace_mutes(self, mutes: dict[bytes, Mute]) -> None:
        self._mutes = dict(list(mutes.items())[-MOST:])

    def mutes(self) -> Iterator[Mute]:
        """The mutes that are in force."""
        yield from self._mutes.values()

    def is_muted(self, model: str, about: Alert | Member) -> bool:
        """Whether a mute covers the event time of the last record of an alert."""
        return any(covers(mute, model, about) for mute in self._mutes.values())


def covers(mute: Mute, model: str, about: Alert | Member) -> bool:
    """Whether a mute is about an alert, at the event time of its last record."""
    if mute.model != model or not mute.from_ts <= about.ts < mute.until_ts:
        return False
    scope = ("version", "segment", "measure", "kind")
    return all(getattr(mute, name) in (None, getattr(about, name)) for name in scope)
