"""Every error that stream_monitor raises on purpose.

    StreamMonitorError
    ├── SettingsError      the settings file or an override is wrong: mend it and start again
    ├── TopicsError        topics are missing or configured in a way that would lose data
    ├── RestoreError       a restart cannot prove that nothing is lost: a person must decide
    ├── QuarantineError    too many events of a topic partition cannot be counted, and the settings stop at that
    ├── BrokerError        Kafka refused or does not answer
    │   └── CommitUnknown  nobody knows whether the last transaction committed: restart, and read the offsets
    ├── TableError         a file of events cannot be read
    │   └── NothingUsable  of all that was read no event could be counted
    └── FormatError        a record of ours has a layout that this version cannot read

A bad *event* is never an exception: it is a dead letter. Only too many of them are one, where the settings say so.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from itertools import islice

MOST = 20
"""Names that a message lists."""


def suggest(name: str, known: Collection[str], what: str) -> str:
    """The end of a message about a name that is not there: the nearest that is, or those there are, called `what`."""
    if near := get_close_matches(name, known, 1, 0.5):
        return f"did you mean {near[0]!r}?"
    more = ["…"] if len(known) > MOST else []
    return f"{what}: {', '.join([*islice(known, MOST), *more]) or 'none yet'}"


class StreamMonitorError(Exception):
    """Base of all errors raised on purpose; its text tells a user what to do."""


class SettingsError(StreamMonitorError):
    """The settings are wrong; the text lists every mistake, not only the first."""


class TopicsError(StreamMonitorError):
    """Topics are missing or configured in a way that would lose data."""


class RestoreError(StreamMonitorError):
    """State cannot be restored to exactly where the last commit left it."""


class QuarantineError(StreamMonitorError):
    """A source floods us with events that cannot be counted, and `dead_letters.above` is `stop`."""


class BrokerError(StreamMonitorError):
    """Kafka refused, fenced us, or does not answer."""


class CommitUnknown(BrokerError):
    """The outcome of a commit is unknown; only the committed offsets know it."""


class TableError(StreamMonitorError):
    """A file of events cannot be read."""


class NothingUsable(TableError):
    """Of all that was read no event could be counted; commands exit with 3."""


class FormatError(StreamMonitorError):
    """A profile, snapshot or change log record has an unknown layout or version."""
