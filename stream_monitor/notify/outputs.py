"""What `notify` writes to Kafka: receipts, and dead letters of messages that nobody accepted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError
from stream_monitor.events.dead_letters import NOT_ACCEPTED
from stream_monitor.events.decode import Reject
from stream_monitor.events.notifications import Receipt
from stream_monitor.kafka.tail import tail
from stream_monitor.kafka.topic_reader import TopicReader
from stream_monitor.kafka.writer import KeyedWriter
from stream_monitor.notify.notices import Notice

log = logging.getLogger(__name__)


class Outputs:
    """The topics `receipts` and `dead-letters`. Without the former there is no history, and it is told."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self._writer = settings, KeyedWriter(settings)
        self._has_receipts = bool(TopicReader(settings).partitions("receipts"))
        if not self._has_receipts:
            log.warning(
                "%s is missing, so there is no history, and after a restart no thread goes on: `topics create`",
                settings.topic("receipts"),
            )

    def read(self, receiver: str | None = None) -> Iterator[Receipt]:
        """The receipts that there are, of one receiver or of all; what is none is left out."""
        for value in tail(self.settings, "receipts", follow=False) if self._has_receipts else ():
            try:
                receipt = msgspec.json.decode(value, type=Receipt)
            except msgspec.MsgspecError as error:
                log.warning("a record on `receipts` is no receipt, and was left out: %s", error)
                continue
            if receiver in (None, receipt.receiver):
                yield receipt

    def write(self, receipt: Receipt) -> None:
        """Write a receipt. A broker that does not take it does not hold up messages: the offsets say what was sent."""
        if not self._has_receipts:
            return
        try:
            self._writer.write("receipts", receipt.receiver.encode(), msgspec.json.encode(receipt))
        except BrokerError as error:
            log.warning("the receipt of %s was not written: %s", receipt.notification, error)

    def give_up(self, notice: Notice, why: str) -> None:
        """Write a dead letter about a message that nobody accepted."""
        place = next((change.place for change in notice.changes if change.place is not None), None)
        message = notice.notification
        role, number, offset = place or ("alerts", 0, 0)
        reject = Reject(NOT_ACCEPTED, f"the receiver {message.receiver} did not accept the message {message.id}: {why}")
        letter = self.settings.letters().write(
            reject, msgspec.json.encode(message), self.settings.topic(role), number, offset
        )
        self._writer.write("dead-letters", message.receiver.encode(), letter)
