"""The work of one receiver: read, find what is due, send, commit.

 1. read records, and take them into the state
 2. find the message that is due, and send it
 3. write its receipt
 4. commit the offsets, with what a restart needs

A crash after 2 sends one message again, with the same id; after 3 the receipt says that it was sent. A message that is
not accepted is tried again for `give_up_after`; meanwhile records go on being read, until too many changes wait.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from stream_monitor.config.settings import Settings
from stream_monitor.errors import BrokerError, StreamMonitorError
from stream_monitor.events.contracts import Alert
from stream_monitor.events.notifications import Receipt
from stream_monitor.kafka.follower import FollowedRecord
from stream_monitor.kafka.subscription import Grant, Subscription
from stream_monitor.notify.dispatch import Dispatch
from stream_monitor.notify.incidents import Place
from stream_monitor.notify.notices import NoticeWriter, receipt_of
from stream_monitor.notify.outbox import Outbox
from stream_monitor.notify.outputs import Outputs
from stream_monitor.notify.partitions import Partitions
from stream_monitor.notify.progress import read_progress
from stream_monitor.notify.receipts import ReceiptBook
from stream_monitor.notify.receiver_state import ReceiverState, Terms, decision_of
from stream_monitor.notify.remarks import RemarkBook
from stream_monitor.notify.sinks.contract import Again, Never, Sent, Sink
from stream_monitor.notify.sinks.registry import sink_of
from stream_monitor.notify.transport.send import send
from stream_monitor.stages.contract import Partition, Position
from stream_monitor.telemetry.notify_metrics import NotifyTelemetry

log = logging.getLogger(__name__)

ROLES_READ = ("alerts", "decisions")
BATCH = 200
WAIT_S = 0.2
COMMIT_S = 5.0
"""How often offsets are committed where no message is sent."""
BUSY_S = 30.0
"""A receiver whose service is slow goes on reading after so long; the group waits for it for five minutes."""
NEVER = float("-inf")
AGAIN_S = 3.0
"""The pause after an error of Kafka, before the receiver connects anew."""


class Stopped(StreamMonitorError):
    """A service answered what does not heal."""


@dataclass(slots=True)
class DeliveryHealth:
    """How a receiver is, for other threads."""

    stopped: str | None = None
    reason: str = "connecting"
    """Why it is not at work; empty: it is."""
    seen: float = 0.0
    """When it came back to its loop last (monotonic)."""


def terms_of(settings: Settings, name: str, sink: Sink) -> Terms:
    """Under which a receiver is told."""
    receiver = settings.notify.receivers[name]
    head = NoticeWriter(settings.app, name, settings.notify.link, receiver.redact)
    return Terms(settings.notify, receiver, head, sink.groups, sink.acknowledges)


class Delivery:
    """One receiver. `run` is the body of its thread."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        remarks: RemarkBook,
        telemetry: NotifyTelemetry,
        announce: Callable[[str, str], None],
    ) -> None:
        self.settings, self.name, self.remarks, self.telemetry = settings, name, remarks, telemetry
        self.sink, self.health = sink_of(settings.notify.receivers[name]), DeliveryHealth(seen=time.monotonic())
        self.terms = terms_of(settings, name, self.sink)
        self.announcements: deque[str] = deque(maxlen=32)
        """Lines about other receivers that have stopped."""
        self._announce, self._random = announce, random.Random()
        telemetry.start(name)
        self._clear(ReceiptBook(name))

    def _clear(self, receipts: ReceiptBook) -> None:
        self.receipts = receipts
        self.state = ReceiverState(self.terms, self.remarks, receipts)
        self.dispatch = Dispatch(self.state)
        self._outbox: Outbox | None = None
        self.partitions = Partitions()
        self._committed_at = self._refreshed_at = NEVER

    # --- the thread ---

    def run(self, stop: threading.Event) -> None:
        """Work until the stop; after an error of Kafka connect anew."""
        while not stop.is_set() and self.health.stopped is None:
            try:
                self._work(stop)
            except Stopped as error:
                self._stop(str(error))
            except BrokerError as error:
                self.health.reason = str(error)
                log.warning("%s: %s; it tries again every %.0f s", self.name, error, AGAIN_S)
            except Exception as error:
                self.health.reason = f"an error of our own: {error}"
                log.exception("the receiver %s failed; it begins again", self.name)
            stop.wait(AGAIN_S)

    def _stop(self, why: str) -> None:
        """Stop loudly: a person has to mend the settings, or the service."""
        self.health.stopped = why
        self.telemetry.stopped.labels(self.name).set(1)
        log.error("the receiver %s has stopped: %s. Mend it, and start `notify` again", self.name, why)
        self._announce(self.name, why)

    def _work(self, stop: threading.Event) -> None:
        outputs = Outputs(self.settings)
        self._clear(ReceiptBook(self.name))
        subscription = Subscription(self.settings, f"notify.{self.name}", ROLES_READ, self._start_of)
        try:
            while not stop.is_set():
                self.health.seen = time.monotonic()
                self.step(subscription, outputs, WAIT_S)
                self.health.reason = ""
        finally:
            subscription.close()

    @staticmethod
    def _start_of(position: Position) -> int:
        return read_progress(position.offset, position.metadata).low

    def step(self, subscription: Subscription, outputs: Outputs, timeout_s: float) -> None:
        """Read, send what is due, and commit."""
        came = subscription.poll(BATCH, timeout_s)
        if came.revoked:
            self._revoke(came.revoked)
        if came.granted:
            self._grant(came.granted, outputs)
        for record in came.records:
            self._take(record)
        for grant in self.partitions.advance(subscription.positions(), drained=not came.records):
            self._restored(grant)
        while self.announcements:
            self.state.say([self.announcements.popleft()], _now())
        if not self.partitions.restoring:
            for remark in list(self.remarks.acknowledgements.values()):
                self.state.acknowledge(remark, _now())
            self._send_due(subscription, outputs, idle=not came.records)
            self._refresh()
        subscription.pause(self.state.is_full)
        self._commit_now_and_then(subscription)
        self.telemetry.pending.labels(self.name).set(len(self.state.pending))
        if self.state.forgotten:
            self.telemetry.forgotten.labels(self.name).inc(self.state.forgotten)
            self.state.forgotten = 0

    # --- partitions ---

    def _revoke(self, partitions: Sequence[Partition]) -> None:
        for partition in partitions:
            self.state.forget(*partition)
        self.partitions.revoke(partitions)
        self._outbox = None  # another instance sends it, or this one again

    def _grant(self, grants: Sequence[Grant], outputs: Outputs) -> None:
        """Begin with partitions: what was told before, receipts say, also those of another instance."""
        self.receipts.learn(outputs.read(self.name))
        self.partitions.grant(grants)

    def _restored(self, grant: Grant) -> None:
        role, number = grant.partition
        if grant.committed is None and role == "alerts":
            self.state.take_start(number, _now())
        self._committed_at = NEVER  # commit soon, so that a new receiver is new only once

    # --- records ---

    def _take(self, record: FollowedRecord) -> None:
        era = self.partitions.take(record)
        if era is None or record.value is None:
            return
        place = Place(record.role, record.number, record.offset)
        try:
            if record.role == "alerts":
                alert = msgspec.json.decode(record.value, type=Alert)
                self.state.take_alert(alert, place, record.ts, _now(), era)
            else:
                self.state.take_decision(decision_of(record.value), place, record.ts, _now(), era)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.telemetry.strange.labels(self.name).inc()
            log.warning("%s/%d at offset %d is left out: %s", *place, error)

    # --- messages ---

    def _send_due(self, subscription: Subscription, outputs: Outputs, idle: bool) -> None:
        """Send what is due, until a message is not accepted, or it is time to read: the group hears of us by that."""
        until = time.monotonic() + BUSY_S
        while time.monotonic() < until:
            if self._outbox is None:
                notice = self.dispatch.next(_now(), self._caught_up(subscription, idle))
                if notice is None:
                    self.telemetry.last_success.labels(self.name).set_to_current_time()
                    return
                self._outbox = Outbox(notice, _now())
            if not self._try(self._outbox, outputs):
                return
            self._outbox = None
            self._commit(subscription)

    def _caught_up(self, subscription: Subscription, idle: bool) -> bool:
        """Whether all records were read that there are; asked for only where a digest waits for it."""
        waits = any(change.held == "late" and change.due <= _now() for change in self.state.pending)
        if not idle or not waits:
            return False
        return self.partitions.are_read(subscription.positions(), subscription.ends())

    def _try(self, outbox: Outbox, outputs: Outputs) -> bool:
        """Send a message if it is time; whether it is over, accepted or given up."""
        now, message = _now(), outbox.notice.notification
        if now < outbox.due:
            return False
        self.health.seen = time.monotonic()
        receiver = self.settings.notify.receivers[self.name]
        requests = self.sink.render(message, now, self.receipts.references.get(message.thread, ""))
        answer = send(self.sink, requests, receiver)
        match answer:
            case Sent():
                self._finish(receipt_of(outbox.notice, _now(), outbox.tries + 1, answer.reference), outbox, outputs)
                return True
            case Never() if answer.is_about_receiver:
                raise Stopped(answer.why)
            case Never():
                why = answer.why
            case Again():
                self.telemetry.retries.labels(self.name).inc()
                outbox.put_off(_now(), answer.after_s, self._random)
                log.warning("%s: not accepted, %s; try %d", self.name, answer.why, outbox.tries)
                if _now() - outbox.since <= self.settings.notify.give_up_after:
                    return False
                why = answer.why
        outputs.give_up(outbox.notice, why)
        log.error("%s: the message %s is given up: %s", self.name, message.id, why)
        self._finish(receipt_of(outbox.notice, _now(), outbox.tries + 1, "", why), outbox, outputs)
        return True

    def _finish(self, receipt: Receipt, outbox: Outbox, outputs: Outputs) -> None:
        self.telemetry.sent.labels(self.name, receipt.status).inc()
        if receipt.status == "sent":
            self.telemetry.delay.labels(self.name).observe(receipt.delay_ms / 1000)
            self.telemetry.last_success.labels(self.name).set_to_current_time()
        self.receipts.take(receipt)
        outputs.write(receipt)
        self.state.done(outbox.notice)
        self._refreshed_at = NEVER  # other alerts of the same incidents may be news, too

    def _refresh(self) -> None:
        """Say again what is open, to a service that forgets it otherwise. What it does not accept is said next time."""
        every = self.sink.refresh_s
        if every is None or time.monotonic() - self._refreshed_at < every:
            return
        self._refreshed_at = time.monotonic()
        known = [i for i in self.state.incidents.values() if i.told is not None and i.is_open]
        answer = send(self.sink, self.sink.refresh(known, _now()), self.settings.notify.receivers[self.name])
        if isinstance(answer, Never) and answer.is_about_receiver:
            raise Stopped(answer.why)
        if not isinstance(answer, Sent):
            log.warning("%s: what is open was not accepted: %s", self.name, answer.why)

    # --- offsets ---

    def _commit_now_and_then(self, subscription: Subscription) -> None:
        if time.monotonic() - self._committed_at >= COMMIT_S and not self.partitions.restoring:
            self._commit(subscription)

    def _commit(self, subscription: Subscription) -> None:
        """Commit how far each partition is; nothing goes back before what was committed."""
        positions = dict[Partition, Position]()
        for partition, offset in self.partitions.next.items():
            progress = self.state.progress(*partition, offset)
            positions[partition] = Position(progress.offset, progress.metadata())
        self._committed_at = time.monotonic()
        if positions and not subscription.commit(positions):
            log.info("%s: the group is being divided anew, so nothing was committed", self.name)


def _now() -> int:
    return round(time.time() * 1000)
