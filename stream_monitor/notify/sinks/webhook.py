"""`webhook`: JSON, signed by the scheme of Standard Webhooks. The contract is `stream-monitor schema notification`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

import msgspec

from stream_monitor.config.receivers import WebhookSettings, key_bytes
from stream_monitor.events.notifications import Notification
from stream_monitor.notify.sinks.contract import HttpRequest, PlainSink, Request


class Webhook(PlainSink):
    """An address that takes our JSON."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._url = settings.url.get_secret_value()
        keys = (settings.key, settings.former_key)
        self._keys = [key_bytes(key) for key in keys if key is not None]

    def render(self, message: Notification, now: int, reference: str) -> Sequence[Request]:
        """The message as it is; a signature by each key, so that a receiver may know either."""
        body = msgspec.json.encode(message)
        stamp = str(now // 1000)
        signed = b".".join([message.id.encode(), stamp.encode(), body])
        signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in self._keys)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": stamp,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }
        return [HttpRequest(self._url, body, headers)]
