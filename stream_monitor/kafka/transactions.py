"""The transactions of one worker: outputs and offsets are committed together, or not at all."""

from __future__ import annotations

import faulthandler
import logging
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from stream_monitor.config.settings import ROLES, ROLES_OPTIONAL, ROLES_REKEYED, Settings
from stream_monitor.errors import BrokerError, CommitUnknown
from stream_monitor.kafka.client_config import CALL_S, PARTITIONER, Reasons, common, made
from stream_monitor.kafka.interface import Aborted, OffsetsOf
from stream_monitor.kafka.log_reader import LogReader
from stream_monitor.stages.contract import Output

log = logging.getLogger(__name__)

HANG_S = 15.0
"""A commit that exceeds the transaction timeout by this much hangs: the broker has aborted it long before."""


class Transactions:
    """A transactional producer."""

    def __init__(self, settings: Settings, role: str, transactional_id: str, reasons: Reasons, logs: LogReader) -> None:
        self.settings, self.role, self.transactional_id = settings, role, transactional_id
        self._reasons, self._logs = reasons, logs
        self._written: set[str] = set()
        """Roles of the topics to which this worker has written."""
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        producer = made(
            Producer,
            common(self.settings, f"{self.role}-producer", self._reasons)
            | {
                "transactional.id": self.transactional_id,
                "transaction.timeout.ms": self.settings.kafka.transaction_timeout,
                "linger.ms": 20,
                "compression.type": "lz4",  # a commit waits for it
                "partitioner": PARTITIONER[self.settings.topics.partitioner],
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 1_048_576,
            },
        )
        try:
            producer.init_transactions(60)
        except KafkaException as error:
            where = self.settings.kafka.bootstrap_servers
            raise BrokerError(f"cannot begin as {self.transactional_id} on {where}: {self._logs.why(error)}") from error
        return producer

    def end_lost(self, tp: TopicPartition) -> None:
        """Abort a transaction of ours on a partition: the abort marker ends the transaction that the broker lost there.

        A broker that was killed can report a transaction as ended and never write its marker to some partition. Only
        the same transactional id, or a person with `kafka-transactions.sh`, can end such a transaction.
        """
        log.warning("%s/%s: a transaction is open; ending it if it was ours", tp.topic, tp.partition)
        try:
            self._producer.begin_transaction()
            self._producer.produce(tp.topic, b"", partition=tp.partition)
            self._producer.flush(CALL_S)
            self._producer.abort_transaction(CALL_S)
        except KafkaException as error:
            raise BrokerError(f"cannot end a transaction on {tp.topic}: {self._logs.why(error)}") from error

    def run(self, outputs: Iterable[Output], offsets: OffsetsOf, group: Consumer) -> None:
        """Run one transaction with the offsets of a member of the group.

        A commit that hangs ends the process, which prints its stacks to stderr. librdkafka's
        `send_offsets_to_transaction` can ignore its time-out when the group's coordinator went down (librdkafka issues
        5456 and 5511).
        """
        self._guard()
        try:
            self._run(outputs, offsets, group)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _guard(self) -> None:
        """From this call on, a hang ends the process."""
        faulthandler.dump_traceback_later(self.settings.kafka.transaction_timeout / 1000 + HANG_S, exit=True)

    def _run(self, outputs: Iterable[Output], offsets: OffsetsOf, group: Consumer) -> None:
        producer = self._producer
        try:
            producer.begin_transaction()
            positions = offsets(self._produce(outputs))
            if positions:
                tps = [
                    TopicPartition(self.settings.topic(role), number, position.offset, position.metadata)
                    for (role, number), position in positions.items()
                ]
                producer.send_offsets_to_transaction(tps, group.consumer_group_metadata(), CALL_S)
        except KafkaException as error:
            self._abort(error.args[0])
        try:
            self._commit()
        except KafkaException as error:
            if not error.args[0].txn_requires_abort():
                raise CommitUnknown(f"the outcome of a commit is unknown: {error.args[0].str()}") from error
            self._abort(error.args[0])

    def _produce(self, outputs: Iterable[Output]) -> list[int]:
        """Send the outputs, the first ones while later ones are computed. Returns the offsets of the tracked ones."""
        delivered: dict[int, int] = {}
        tracked: list[int] = []
        for at, output in enumerate(outputs):
            options = _options(output)
            if output.tracked:
                tracked.append(at)

                def note(error: KafkaError | None, message: Any, at: int = at) -> None:
                    if error is None:
                        delivered[at] = message.offset()

                options["on_delivery"] = note
            self._written.add(output.role)
            topic = self.settings.topic(output.role)
            while True:
                try:
                    self._producer.produce(topic, None if output.tombstone else output.value, output.key, **options)
                    break
                except BufferError:
                    self._producer.poll(0.1)
        left = self._producer.flush(CALL_S)
        if left:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{left} records were not delivered"))
        missing = len(tracked) - len(delivered)
        if missing:
            raise KafkaException(KafkaError(KafkaError._STATE, f"{missing} change log records were not delivered"))
        return [delivered[at] for at in tracked]

    def _commit(self) -> None:
        for _ in range(10):
            try:
                self._producer.commit_transaction(-1)
                return
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise
        raise CommitUnknown("the commit was tried ten times without an answer: restart, and the offsets will tell")

    def _abort(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FENCED:
            raise BrokerError(f"fatal: {error.str()}{self._hint(error)}")
        log.warning("transaction aborted: %s", error.str())
        self._guard()  # an abort may take as long as a commit
        try:
            self._producer.abort_transaction(CALL_S)
        except KafkaException as failure:
            cause = failure.args[0]
            raise BrokerError(f"cannot abort: {cause.str()}, after: {error.str()}{self._hint(cause)}") from failure
        if missing := self._missing():
            raise BrokerError(f"{error.str()}{missing}")  # otherwise the caller would retry it for ever
        raise Aborted(error.str())

    def _missing(self) -> str:
        """The names of topics that no longer exist: records for them wait until the broker ends the transaction."""
        try:
            known = self._logs.admin.list_topics(timeout=CALL_S).topics
        except KafkaException as failure:
            return f" (no broker answers: {failure.args[0].str()})"
        spared = {*ROLES_OPTIONAL, *(() if self.role == "rekey" else ROLES_REKEYED)} - self._written
        needed = [role for role in ROLES if role not in spared]
        gone = [name for role in needed if (name := self.settings.topic(role)) not in known]
        return f" (missing topics: {', '.join(gone)})" if gone else ""

    def _hint(self, error: KafkaError) -> str:
        """The cause of an error that ends a worker, where it is known. A missing topic looks like a fence."""
        if missing := self._missing():
            return missing
        if error.code() != KafkaError._FENCED:
            return ""
        return (
            " (another worker uses the same transactional id: set kafka.worker_id; or the broker ended a commit that "
            "took longer than kafka.transaction_timeout)"
        )


def _options(output: Output) -> dict[str, Any]:
    """What `produce` is told of a record beside its topic, value and key."""
    options: dict[str, Any] = {} if output.partition is None else {"partition": output.partition}
    if output.timestamp is not None:
        options["timestamp"] = output.timestamp
    if output.headers:
        options["headers"] = list(output.headers)
    return options
