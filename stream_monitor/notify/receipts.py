"""What a receiver has accepted, out of the topic `receipts`: which message began a thread, and what it knows."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from stream_monitor.events.notifications import Receipt, Severity

MOST = 10_000
"""Incidents, threads and messages that are remembered; above, the oldest go."""


class Knowledge(msgspec.Struct):
    """What a receiver knows of an incident."""

    thread: str
    severity: Severity
    outcome: str = ""
    ended: bool = False
    acknowledged: bool = False


class ReceiptBook:
    """The receipts of one receiver. Without the topic it knows what this process has sent."""

    def __init__(self, receiver: str) -> None:
        self.receiver = receiver
        self.references: dict[str, str] = {}
        """By thread: how the service calls its first message."""
        self.known: dict[str, Knowledge] = {}
        """By incident."""
        self.sent: list[int] = []
        """When the latest messages were sent (epoch ms)."""

    def learn(self, receipts: Iterable[Receipt]) -> None:
        """Begin anew with what the topic says."""
        self.references.clear()
        self.known.clear()
        self.sent = []
        for receipt in receipts:
            self.take(receipt)

    def take(self, receipt: Receipt) -> None:
        """Take in a receipt."""
        if receipt.status != "sent":
            return
        self.sent = [*self.sent[1 - MOST :], receipt.ts]
        if receipt.thread and receipt.reference:
            self.references.setdefault(receipt.thread, receipt.reference)
        for incident in receipt.incidents:
            former = self.known.pop(incident, None)
            known = self.known[incident] = former or Knowledge(receipt.thread or incident, receipt.severity)
            known.severity, known.ended = receipt.severity, incident in receipt.ended
            known.outcome = receipt.outcome or known.outcome
            known.acknowledged |= receipt.type == "incident.acknowledged"
        for book in (self.references, self.known):
            while len(book) > MOST:
                book.pop(next(iter(book)))
