"""Which message is due: what waits, what goes together, what is told in a digest.

| a change | waits | is told |
|---|---|---|
| opened, worse, silence | `group_wait` after it was read | with all others of its model that wait |
| resolved, outcome | `group_wait` | with those of the same thread |
| decision | not | alone |
| of drift, where the receiver has `matters` | at most `matters_within`, for labels | unless the error did not rise |
| older than `stale_after` when it is read, or when it could be sent | until all is read | in a digest |
| in quiet hours | until their end | in a digest |
| above `rate` | until a message is free again | in a digest |
| one of 1,000 that wait | no longer | as its kind |
| muted, or of an incident that nobody was told of | | never |

A service that has incidents of its own is told of each alone, and gets no digests: only what is still open.
"""

from __future__ import annotations

from collections.abc import Iterator

from stream_monitor.config.durations import per_ms
from stream_monitor.notify.incidents import Incident
from stream_monitor.notify.notices import Change, Notice
from stream_monitor.notify.quiet import quiet_until
from stream_monitor.notify.receiver_state import ReceiverState


class Dispatch:
    """Finds the messages that are due. Nothing counts as told until the state hears that it is done."""

    def __init__(self, state: ReceiverState) -> None:
        self.state, self.terms = state, state.terms
        number, period = self.terms.settings.rate.split(" per ")
        self._number = int(float(number))
        self._period = round(1 / per_ms(f"1 per {period}"))

    def next(self, now: int, caught_up: bool) -> Notice | None:
        """The message that is due, if any.

        Args:
            now: the time (epoch ms).
            caught_up: all records that there are have been read; a digest of late ones waits for that.
        """
        if self.state.is_full:
            self._let_go(now)
        self._sort_out(now)
        for change in sorted(self.state.pending, key=lambda c: c.due):
            if change.due > now:  # holding back what is above the rate may have moved it
                continue
            if change.held == "late" and not caught_up and not self.state.is_full:
                continue
            if (notice := self._notice_with(change, now)) is not None:
                return notice
        return None

    def _let_go(self, now: int) -> None:
        """Wait on purpose no longer: too much waits for more to be read, and what is not read may be grave."""
        for change in self.state.pending:
            if change.held or change.waits:
                change.due = min(change.due, now)

    def _sort_out(self, now: int) -> None:
        """Leave out what needs no message, and hold back what is not to be told now."""
        state = self.state
        while needless := [c for c in state.pending if (c.due <= now or c.waits) and state.is_needless(c)]:
            state.drop(needless)  # of the others some may be needless without these
        for change in state.pending:
            incident = state.incidents.get(change.incident)
            if change.waits and incident is not None and incident.outcome == "worse":
                change.due = min(change.due, now)
            if change.due > now:
                continue
            change.waits = False
            stale = now - change.due > self.terms.settings.stale_after
            if change.held != "quiet":
                self._hold_for_quiet(change, now)
            if stale and not change.held and self.terms.groups:
                change.held = "late"

    def _hold_for_quiet(self, change: Change, now: int) -> None:
        addressed = self.state.recipient_of(change)
        if addressed is None or addressed.quiet is None:
            return
        if (until := quiet_until(addressed.quiet, now)) is not None:
            change.held, change.due = "quiet", until

    def _notice_with(self, change: Change, now: int) -> Notice | None:
        """The message that a change is told with; None where it has to wait for another one."""
        writer, state = self.terms.writer, self.state
        if change.type in ("receiver.stopped", "incident.acknowledged"):
            incident = state.incidents.get(change.incident)
            return writer.plain(change, incident, now)
        if self.terms.groups:
            if not change.held:
                self._hold_for_rate(now)
            if change.due > now:
                return None
            if change.held:
                return self._digest(change, now)
        if change.decision is not None:
            return writer.about_decision(change, change.decision)
        return self._about_incidents(change)

    def _hold_for_rate(self, now: int) -> None:
        """Hold back all that is due, where one more message would leave none for a digest."""
        sent = [ts for ts in self.state.receipts.sent if ts > now - self._period]
        held = [change.due for change in self.state.pending if change.held == "rate"]
        if len(sent) < self._number - 1 and not held:
            return
        until = min(held) if held else min(sent) + self._period
        for change in self.state.pending:
            if not change.held and change.due <= now and change.type != "receiver.stopped":
                change.held, change.due = "rate", until

    def _digest(self, change: Change, now: int) -> Notice:
        """All that is held for the same reason, and what has become of the same incidents."""
        pending = self.state.pending
        found = [c for c in pending if c.held == change.held and c.due <= now]
        about = {c.incident for c in found if c.incident}
        found += [c for c in pending if c.incident in about and all(c is not other for other in found)]
        incidents = [i for key in sorted(about) if (i := self.state.incidents.get(key)) is not None]
        return self.terms.writer.about_many(found, incidents)

    def _about_incidents(self, change: Change) -> Notice | None:
        incident = self.state.incidents[change.incident]
        if not change.opens() and incident.told is None and (first := self.state.opening(incident.id)) is not None:
            change.due, change.held = max(first.due, change.due), first.held
            return None
        group = list(self._group_of(change, incident))
        members = [self.state.incidents[i] for i in dict.fromkeys(c.incident for c in group)]
        return self.terms.writer.about_incidents(group, members)

    def _group_of(self, change: Change, incident: Incident) -> Iterator[Change]:
        """The changes that are told together with one."""
        pending = self.state.pending
        if not self.terms.groups:
            yield from (
                c
                for c in pending
                if c.incident == incident.id and (c.type == change.type or (c.opens() and change.opens()))
            )
            return
        alike = [c for c in pending if not c.held and not c.waits and c.incident and c.model == change.model]
        if not change.opens():
            yield from (c for c in alike if c.type == change.type and self._thread(c) == self._thread(change))
            return
        about = {c.incident for c in alike if c.opens()}
        yield from (c for c in alike if c.incident in about and c.type != "incident.acknowledged")

    def _thread(self, change: Change) -> str:
        incident = self.state.incidents.get(change.incident)
        return "" if incident is None else incident.thread or incident.id
