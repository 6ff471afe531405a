"""Section `notify`: who is told what, when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from stream_monitor.config.detection import Section
from stream_monitor.config.durations import Duration, Rate, format_duration, ms, per_ms
from stream_monitor.config.receivers import RECEIVERS, ReceiverSettings
from stream_monitor.errors import suggest

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SEVERITIES = ("info", "warning", "critical")
"""The least severe first."""
VALUES: dict[str, tuple[str, ...]] = {
    "severity": SEVERITIES,
    "kind": ("drift", "limit", "quality", "silence", "decision"),
    "group": ("input", "output", "outcome", "software", "human"),
    "mattered": ("unknown", "undecided", "unchanged", "worse", "better"),
}
"""Of these keys of `match` all values are known."""
MOST_RECEIVERS = 32
LEAST_RATE = 2 / 3_600_000
"""Two an hour: a message and a digest."""
GLOB = re.compile(r"[*?\[]")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def _listed(value: Any) -> Any:
    """A pattern, or a list of them."""
    return (value,) if isinstance(value, str) else value


Patterns = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]


class MatchSettings(Section):
    """What a route is for: texts or patterns (`fraud*`), or lists of them. A key that is left out matches all."""

    app: Patterns | None = None
    model: Patterns | None = None
    version: Patterns | None = None
    segment: Patterns | None = None
    measure: Patterns | None = None
    group: Patterns | None = None
    kind: Patterns | None = None
    severity: Patterns | None = None
    mattered: Patterns | None = None

    @model_validator(mode="after")
    def _known(self) -> MatchSettings:
        for key, known in VALUES.items():
            for value in getattr(self, key) or ():
                if not GLOB.search(value) and value not in known:
                    raise ValueError(f"match.{key}: no {key} is {value!r}; {suggest(value, known, 'there are')}")
        return self

    def patterns(self) -> dict[str, tuple[str, ...]]:
        """The keys that are given."""
        return {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}


def _minutes(value: Any) -> int:
    """Minutes since midnight of `20:00`; `24:00` is the end of a day."""
    if value == "24:00":
        return 1_440
    if not isinstance(value, str) or (match := _CLOCK.fullmatch(value)) is None:
        raise ValueError(f'{value!r} is no time of day; write "20:00", in quotes, for YAML reads 20:00 as a number')
    return 60 * int(match[1]) + int(match[2])


def _days(value: Any) -> str:
    """Days as `mon-fri`, `sat,sun` or `mon`."""
    for part in str(value).split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or any(end not in DAYS for end in ends):
            raise ValueError(f"{value!r} names no days; write mon-fri, sat,sun or mon")
    return str(value)


class QuietSettings(Section):
    """Hours at which a route holds messages back; a digest follows at their end."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)

    begin: str = Field(alias="from", description="time of day")
    end: str = Field(alias="to", description="time of day; before `from`: on the next day")
    zone: str = Field("UTC", description="name of a time zone, such as Europe/Berlin")
    days: Annotated[str, BeforeValidator(_days)] = Field("mon-sun", description="on which the hours begin")
    below: Literal["info", "warning", "critical"] | None = Field(
        None, description="only what is less severe is held back; default: all"
    )

    @field_validator("begin", "end", mode="before")
    @classmethod
    def _clock(cls, value: Any) -> Any:
        _minutes(value)
        return value

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"no time zone is called {value[:60]!r}; write for example Europe/Berlin (a machine without time "
                "zones needs the package tzdata)"
            ) from None
        return value

    def minutes(self) -> tuple[int, int]:
        """Begin and end in minutes since the midnight before the begin."""
        begin, end = _minutes(self.begin), _minutes(self.end)
        return begin, end if end > begin else end + 1_440

    def weekdays(self) -> frozenset[int]:
        """The days on which the hours begin; 0 is Monday."""
        found = set[int]()
        for part in self.days.split(","):
            first, _, last = part.strip().partition("-")
            at, until = DAYS.index(first), DAYS.index(last or first)
            found |= {day % 7 for day in range(at, (until if until >= at else until + 7) + 1)}
        return frozenset(found)


class RouteSettings(Section):
    """Who is told of what. The first route that matches counts; with `also` the next ones, too."""

    match: MatchSettings = MatchSettings()
    to: Annotated[tuple[str, ...], Field(min_length=1)]
    also: bool = False
    quiet: QuietSettings | None = None


def _read_receivers(raw: Any) -> Any:
    """Receivers by name, each of its kind; ValueError tells all mistakes."""
    if not isinstance(raw, Mapping):
        raise ValueError("must be names with their settings: {team: {kind: slack, …}}")
    if len(raw) > MOST_RECEIVERS:
        raise ValueError(f"{len(raw)} are more than {MOST_RECEIVERS}")
    found, problems = {}, list[str]()
    for name, given in raw.items():
        if not _NAME.fullmatch(str(name)):
            problems.append(f"{str(name)[:60]!r}: a name has letters, digits, - and _, at most 40")
            continue
        try:
            found[str(name)] = _read_receiver(given)
        except ValidationError as error:
            problems += [f"{name}{_explained(problem, given)}" for problem in error.errors()]
        except ValueError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _read_receiver(given: Any) -> ReceiverSettings:
    if isinstance(given, ReceiverSettings):
        return given
    kind = given.get("kind") if isinstance(given, Mapping) else None
    if kind not in RECEIVERS:
        raise ValueError(f"kind is {str(kind)[:60]!r}; {suggest(str(kind), RECEIVERS, 'kinds are')}")
    return RECEIVERS[kind].model_validate(given)


def _explained(problem: Any, given: Any) -> str:
    where = "".join(f".{part}" for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    known = RECEIVERS[given["kind"]].model_fields
    return f"{where}: unknown key; {suggest(str(problem['loc'][-1]), known, 'known keys')}"


class NotifySettings(Section):
    """Who is told of incidents, by `stream-monitor notify`: see notifications.md."""

    link: Annotated[str, Field(pattern=r"^https?://[!-~]{1,400}$")] | None = Field(
        None, description="address of the page, which messages link to; default: no links"
    )
    receivers: Annotated[dict[str, SerializeAsAny[ReceiverSettings]], BeforeValidator(_read_receivers)] = Field(
        {}, description="by name: `kind` (webhook, slack, teams, pagerduty, alertmanager, email, apprise) and its keys"
    )
    routes: tuple[RouteSettings, ...] = Field(
        (),
        description="who is told of what: {match: {severity: critical}, to: [oncall]}; the first that matches; "
        "none: all are told everything",
    )
    group_wait: Duration = Field(ms("30s"), description="what of a model comes within goes into one message")
    rate: Rate = Field("30 per hour", description="messages that a receiver gets at most; beyond, one digest")
    give_up_after: Duration = Field(ms("1d"), description="a message that nobody accepts so long is a dead letter")
    stale_after: Duration = Field(ms("1h"), description="what is older when it is read is told in one digest")
    matters_within: Duration = Field(
        ms("6h"), description="how long a receiver with `matters` waits for what labels say"
    )

    @model_validator(mode="after")
    def _consistent(self) -> NotifySettings:
        for at, route in enumerate(self.routes):
            for name in route.to:
                if name not in self.receivers:
                    raise ValueError(
                        f"routes.{at}.to: no receiver is called {name[:60]!r}; "
                        f"{suggest(name, self.receivers, 'receivers are')}"
                    )
        if per_ms(self.rate) < LEAST_RATE * 0.999:
            raise ValueError(f"rate: {self.rate} is less than 2 per hour, a message and a digest")
        if self.group_wait > self.stale_after:
            wait, stale = format_duration(self.group_wait), format_duration(self.stale_after)
            raise ValueError(f"group_wait {wait} is above stale_after {stale}: all would be late")
        return self
