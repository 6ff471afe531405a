"""Alerts as a judge publishes them, for the tests of what becomes of them."""

from __future__ import annotations

from typing import Any

from stream_monitor.config.notify import NotifySettings
from stream_monitor.config.settings import parse
from stream_monitor.events.contracts import Alert, Attribution, ErrorChange, SegmentPart
from stream_monitor.notify.dispatch import Dispatch
from stream_monitor.notify.incidents import Place
from stream_monitor.notify.notices import Notice, NoticeWriter, receipt_of
from stream_monitor.notify.receipts import ReceiptBook
from stream_monitor.notify.receiver_state import ReceiverState, Terms
from stream_monitor.notify.remarks import RemarkBook

T0 = 1_800_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
KEY = "whsec_" + "A" * 43 + "="
WEBHOOK = {"kind": "webhook", "url": "https://hook.example/x", "key": KEY}


def settings(**given: Any) -> NotifySettings:
    return parse({"notify": {"receivers": {"team": WEBHOOK}} | given}).notify


def alert(identity: str, status: str = "open", **given: Any) -> Alert:
    """A record; `incident` is the part of the id before a dash."""
    error, parts = given.pop("error", None), given.pop("parts", {})
    attribution = None
    if error is not None or parts:
        segments = [SegmentPart(name, part, part, 0.0, 0.5, 0.5, named=True) for name, part in parts.items()]
        attribution = Attribution(error=None if error is None else ErrorChange(state=error), segments=segments)
    known: dict[str, Any] = {
        "id": identity, "status": status, "revision": 0, "ts": T0, "opened_ts": T0, "model": "fraud", "version": "7",
        "segment": "all", "measure": "amount", "group": "input", "kind": "drift", "severity": "warning",
        "reason": f"fraud 7: amount moved ({identity})", "incident": identity.partition("-")[0],
    }  # fmt: skip
    return Alert(**(known | given), attribution=attribution)


class Story:
    """One receiver, a partition of alerts that grows, and a clock."""

    def __init__(self, rules: NotifySettings | None = None, receiver: str = "team", groups: bool = True) -> None:
        self.settings = rules or settings()
        terms = Terms(
            self.settings, self.settings.receivers[receiver], NoticeWriter("app", receiver, "https://page.example"),
            groups, acknowledges=not groups,
        )  # fmt: skip
        self.remarks, self.receipts = RemarkBook(), ReceiptBook(receiver)
        self.state = ReceiverState(terms, self.remarks, self.receipts)
        self.dispatch = Dispatch(self.state)
        self.now, self.offset = T0, 0
        self.log: list[tuple[Alert, int]] = []

    def publish(self, *records: Alert, ago: int = 0) -> None:
        for record in records:
            self.log.append((record, self.now - ago))
            self.state.take_alert(record, Place("alerts", 0, self.offset), self.now - ago, self.now)
            self.offset += 1

    def after(self, ms: int, caught_up: bool = True, step: int = 10 * MINUTE) -> list[Notice]:
        """What is sent while so much time passes; a receiver that is down longer than a step is told later."""
        found, end = list[Notice](), self.now + ms
        while True:
            self.now = min(end, self.now + step)
            while (notice := self.dispatch.next(self.now, caught_up)) is not None:
                found.append(notice)
                self.accept(notice)
            if self.now == end:
                return found

    def accept(self, notice: Notice) -> None:
        self.receipts.take(receipt_of(notice, self.now, 1, ""))
        self.state.done(notice)

    def told(self, ms: int) -> list[str]:
        """The types and incidents of what is sent."""
        return [f"{n.notification.type} {' '.join(t.incident for t in n.told)}".strip() for n in self.after(ms)]
