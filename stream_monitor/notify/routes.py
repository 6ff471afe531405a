"""Which receivers are told of something: the first route that matches, and with `also` the next ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from stream_monitor.config.notify import GLOB, SEVERITIES, NotifySettings, QuietSettings, RouteSettings

EVERYTHING = ("*",)


class Subject(NamedTuple):
    """What a route looks at."""

    app: str
    model: str
    version: str
    segment: str
    measure: str
    group: str
    kind: str
    severity: str
    mattered: str = "unknown"


class Recipient(NamedTuple):
    """A receiver that is told, and the quiet hours of the route that named it."""

    receiver: str
    quiet: QuietSettings | None


def is_match(route: RouteSettings, subject: Subject) -> bool:
    """Whether all keys of a route match."""
    given = route.match.patterns()
    return all(any(fnmatchcase(getattr(subject, key), p) for p in patterns) for key, patterns in given.items())


def recipients(settings: NotifySettings, subject: Subject) -> list[Recipient]:
    """Who is told. A receiver that two routes name is told once, without quiet hours if one of the routes has none."""
    if not settings.routes:
        return [Recipient(name, None) for name in settings.receivers]
    found = dict[str, Recipient]()
    for route in settings.routes:
        if is_match(route, subject):
            for name in route.to:
                quiet = _quiet_for(route, subject)
                if name not in found or quiet is None:
                    found[name] = Recipient(name, quiet)
            if not route.also:
                break
    return list(found.values())


def _quiet_for(route: RouteSettings, subject: Subject) -> QuietSettings | None:
    quiet = route.quiet
    if quiet is None or quiet.below is None:
        return quiet
    return quiet if SEVERITIES.index(subject.severity) < SEVERITIES.index(quiet.below) else None


def recipient(settings: NotifySettings, name: str, subject: Subject) -> Recipient | None:
    """How a receiver is told; None: it is not."""
    return next((found for found in recipients(settings, subject) if found.receiver == name), None)


def unreachable(routes: Sequence[RouteSettings]) -> Iterator[tuple[int, int]]:
    """(route, earlier route) of routes that nothing reaches, because an earlier one takes all that they match."""
    for at, route in enumerate(routes):
        for before in range(at):
            if not routes[before].also and _takes_all(routes[before].match.patterns(), route.match.patterns()):
                yield at, before
                break


def _takes_all(wide: Mapping[str, tuple[str, ...]], narrow: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether all that matches `narrow` surely matches `wide`, too."""
    return all(
        all(any(_covers(pattern, one) for pattern in patterns) for one in narrow.get(key, EVERYTHING))
        for key, patterns in wide.items()
    )


def _covers(pattern: str, other: str) -> bool:
    if pattern in ("*", other):
        return True
    return not GLOB.search(other) and fnmatchcase(other, pattern)


def idle_receivers(settings: NotifySettings) -> list[str]:
    """Receivers that no route names."""
    named = {name for route in settings.routes for name in route.to}
    return [name for name in settings.receivers if settings.routes and name not in named]
