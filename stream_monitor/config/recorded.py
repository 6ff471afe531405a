"""The settings that the log of a judge records: written by one version of stream_monitor, and read by others."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from pydantic import ValidationError

from stream_monitor.config.detection import WINDOW_TESTS, BaselineSettings, TimeSettings
from stream_monitor.config.settings import Settings, explain, parse
from stream_monitor.errors import SettingsError

log = logging.getLogger(__name__)

JUDGED = {"detection", "models", "baseline", "caps", "join", "time", "segments"}
_STRUCTURE = {"time": {"pane", "windows"}, "join": {"grain"}, "segments": set[str]()}
"""By section what cannot change under one app name."""


def judged_text(settings: Settings) -> str:
    """The settings that a judge obeys, as they are published to its topic."""
    return orjson.dumps(settings.model_dump(mode="json", include=JUDGED), option=orjson.OPT_SORT_KEYS).decode()


def adopted(settings: Settings, text: str) -> Settings:
    """The settings of an app that runs: what they leave open, and the log of its judge fixes, is as the log says.

    Windows of an app cannot change. A log before `baseline.first_within` knew no such end of a baseline.
    """
    recorded: dict[str, Any] = orjson.loads(text)
    time, baseline = (s if isinstance(s, dict) else {} for s in (recorded.get("time"), recorded.get("baseline")))
    raw = settings.model_dump(mode="json", include={"time", "baseline"})
    if "windows" in time and "windows" not in settings.time.model_fields_set:
        raw["time"]["windows"] = time["windows"]
    if "first_within" not in baseline and "first_within" not in settings.baseline.model_fields_set:
        raw["baseline"]["first_within"] = None
    try:
        sections: dict[str, Any] = {"time": TimeSettings.model_validate(raw["time"])}
    except ValidationError:  # `understood` says what is wrong with the log
        return settings
    return settings.model_copy(update=sections | {"baseline": BaselineSettings.model_validate(raw["baseline"])})


def applied(base: Settings, text: str) -> Settings:
    """The settings with the judged sections that the log says; SettingsError when the structure differs.

    What this version does not know, or refuses, counts as unset, and is logged.
    """
    recorded, unset = understood(base, text)
    for why in unset:
        log.warning("of the recorded settings one counts as unset: %s", why)
    return recorded


def understood(base: Settings, text: str) -> tuple[Settings, list[str]]:
    """As `applied`, with what is not understood in the log, and why."""
    judged: dict[str, Any] = orjson.loads(text)
    base = adopted(base, text)
    if isinstance(judged.get("baseline"), dict):
        judged["baseline"].setdefault("first_within", None)
    unset = [f"{name}: unknown section" for name in judged.keys() - JUDGED]
    raw = {**base.model_dump(exclude=JUDGED), **{name: judged[name] for name in judged.keys() & JUDGED}}
    unset += _as_obeyed(raw)
    while (problem := _first_mistake(raw)) is not None and _unset(raw, problem["loc"]):
        unset.append(explain(problem))
    recorded = parse(raw, "recorded settings")
    if recorded.structure() != base.structure():
        raise SettingsError(
            "pane, windows, segments or grain differ from those of the running app "
            f"{base.app!r}: profiles in flight would lose their meaning. Keep them, or choose another app name."
        )
    return recorded, unset


def _first_mistake(raw: dict[str, Any]) -> Any:
    try:
        Settings.model_validate(raw)
    except ValidationError as error:
        return error.errors()[0]
    return None


def _as_obeyed(raw: dict[str, Any]) -> list[str]:
    """Write tolerances that a former version took and this one refuses as they were obeyed; what is left out.

    An effect above the largest there is was never reached, and a test of another name was not there.
    """
    detection = raw.get("detection")
    tolerance = detection.get("tolerance") if isinstance(detection, dict) else None
    if not isinstance(tolerance, dict):
        return []
    numbers = {name: value for name, value in tolerance.items() if isinstance(value, int | float)}
    gone = [name for name in tolerance if name not in WINDOW_TESTS or (name == "volume" and numbers.get(name, 1) < 1)]
    lines = [f"detection.tolerance.{name}: {tolerance.pop(name)}" for name in gone]
    tolerance |= {name: min(value, WINDOW_TESTS[name].largest) for name, value in numbers.items() if name in tolerance}
    return lines


def _unset(raw: dict[str, Any], location: tuple[str | int, ...]) -> bool:
    """Take the key of a mistake away, else what of its section is no structure; false where nothing is left to take."""
    name, *keys = map(str, location or ("",))
    if name not in JUDGED or name not in raw:
        return False
    section, kept = raw[name], _STRUCTURE.get(name, set())
    if not isinstance(section, dict):
        if name in _STRUCTURE:
            return False
        del raw[name]
        return True
    if not keys or keys[0] not in section:
        lost = section.keys() - kept
        for key in lost:
            del section[key]
        return bool(lost)
    if keys[0] in kept:
        return False
    place = section
    while len(keys) > 1 and isinstance(place[keys[0]], dict) and keys[1] in place[keys[0]]:
        place = place[keys.pop(0)]
    del place[keys[0]]
    return True
