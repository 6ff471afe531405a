"""Settings from environment variables: `STREAM_MONITOR__SECTION__KEY`, two underscores between the parts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from stream_monitor.config import secrets, yaml_text
from stream_monitor.errors import SettingsError

log = logging.getLogger(__name__)

PREFIX = "STREAM_MONITOR__"
Given = dict[tuple[str, ...], str]
"""The variables that set something, by where it lies."""
_OWN = frozenset({"STREAM_MONITOR_CACHE", "STREAM_MONITOR_TEST_BOOTSTRAP"})
"""Variables of ours that are no settings."""
_MOST_PARTS = 8
_NAMED = 3


def override(raw: dict[str, Any], environ: Mapping[str, str], known: Iterable[tuple[str, ...]]) -> Given:
    """Put what variables say into the settings read from a file; `known` are the places of all settings."""
    given: Given = {}
    names = {PREFIX + "__".join(path).upper(): path for path in known}
    for name in sorted(environ):  # so that a whole section comes before its keys
        if not name.startswith("STREAM_MONITOR_") or name in _OWN:
            continue
        _require_underscores(name, environ[name], names)
        if not name.startswith(PREFIX):
            continue
        *sections, key = name.removeprefix(PREFIX).lower().split("__")
        place = _section(raw, sections, name)
        if tuple(sections) == secrets.OPTIONS:
            key = secrets.option_name(key)
        # A secret is taken to the letter: YAML would read 0123 as 83, and refuse @.
        secret = secrets.is_secret((*sections, key))
        place[key] = environ[name] if secret else yaml_text.read(environ[name], name)
        given[*sections, key] = name
    return given


def _section(raw: dict[str, Any], sections: Sequence[str], name: str) -> dict[str, Any]:
    if len(sections) > _MOST_PARTS:
        raise SettingsError(f"{name[:80]}… has too many parts: no setting lies so deep")
    place = raw
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise SettingsError(f"{name}: {section} is no section")
    return place


def _require_underscores(name: str, value: str, names: Mapping[str, tuple[str, ...]]) -> None:
    """SettingsError for the name of a setting with other underscores; a warning for one that resembles it.

    A Kubernetes service named `stream-monitor-…` puts addresses into variables that look alike: these are left alone.
    """
    if name in names or value.startswith(("tcp://", "udp://", "sctp://")):
        return
    plain = {full.replace("_", ""): full for full in names}
    if suggestion := plain.get(name.upper().replace("_", "")):
        raise SettingsError(f"{name} is no setting: between its parts are two underscores, {suggestion}")
    if not name.startswith(PREFIX) and (near := get_close_matches(name.replace("_", ""), plain, 1, 0.9)):
        log.warning("%s is no setting and was not read; did you mean %s?", name, plain[near[0]])


def named(location: Sequence[str | int], given: Given) -> str:
    """The variables that a mistake at this place can come from, as the beginning of its line."""
    place = tuple(map(str, location))
    names = [name for path, name in given.items() if path[: len(place)] == place or place[: len(path)] == path]
    if not names or len(names) > _NAMED:
        return ""
    return f"{', '.join(names)}: "
