"""The settings: one YAML file, every key of which an environment variable can override. No file at all works too.

Grammar: sections are nouns in the order of the stream; durations are written with their unit (`500ms`, `10s`, `5m`,
`6h`, `7d`); unknown keys are refused with the nearest known one named.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from stream_monitor.errors import SettingsError

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


def ms(value: Any) -> int:
    """Milliseconds of `500ms`, `10s`, `5m`, `6h` or `7d`; ValueError for anything else."""
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write 500ms, 10s, 5m, 6h or 7d")
    return round(float(match[1]) * _UNITS[match[2]])


def format_duration(millis: int) -> str:
    """The shortest exact way to write a duration."""
    for unit, size in reversed(_UNITS.items()):
        if millis % size == 0 and (millis or unit == "ms"):
            return f"{millis // size}{unit}"
    raise AssertionError("every integer is a multiple of 1 ms")


Duration = Annotated[
    int,
    BeforeValidator(lambda v: v if isinstance(v, int) and not isinstance(v, bool) and v == 0 else ms(v)),
    PlainSerializer(format_duration, return_type=str),
]


_PERIODS = {"hour": 3_600_000, "day": 86_400_000, "week": 7 * 86_400_000, "month": 30 * 86_400_000}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:per\s|/)\s*(hour|day|week|month)")


def _rate(value: Any) -> str:
    match = _RATE.fullmatch(str(value).strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{value!r} is no rate above 0; write 1 per week, 0.5 per day or 2/month")
    return f"{float(match[1]):g} per {match[2]}"


Rate = Annotated[str, BeforeValidator(_rate)]
"""`NUMBER per hour|day|week|month`, also `NUMBER/week`; a month is 30 days."""


def per_ms(rate: str) -> float:
    """How often a millisecond; ValueError for what is no rate."""
    number, _, period = _rate(rate).split()
    return float(number) / _PERIODS[period]


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Section):
    """How to reach Kafka."""

    bootstrap_servers: str = Field("localhost:9092", description="host:port of some brokers")
    start: Literal["earliest", "latest"] = Field("earliest", description="where a new app begins to read")
    transaction_timeout: Duration = Field(
        ms("30s"), description="a dead worker's open transaction holds readers this long"
    )
    worker_id: str | None = Field(None, description="unique name of this worker; default: host name and a free slot")
    options: dict[str, str | int | float | bool] = Field(
        {}, description="passed to librdkafka as it is: security.protocol, sasl.username, ssl.ca.location …"
    )


ROLES_IN = ("predictions", "labels", "feedback", "observations")
ROLES_OUT = ("alerts", "metrics", "decisions", "dead-letters")
ROLES_INTERNAL = ("profiles", "pending", "state", "baselines")


class TopicSettings(Section):
    """Names of topics that are not `<app>.<role>`, and how missing ones are made."""

    create: bool = Field(True, description="make missing topics at the start")
    partitions: Annotated[int, Field(ge=1, le=10_000, description="of new input topics, unless predictions exists")] = 8
    replication_factor: int = Field(-1, description="-1: the broker's default")
    names: dict[str, str] = Field({}, description="role: name, for example {predictions: ml.inference}")

    @model_validator(mode="after")
    def _known(self) -> TopicSettings:
        roles = ROLES_IN + ROLES_OUT + ROLES_INTERNAL
        for role in self.names:
            if role not in roles:
                raise ValueError(f"no topic role {role!r}; roles are {', '.join(roles)}")
        return self


class TimeSettings(Section):
    """Event time: panes, windows, and what is late."""

    pane: Duration = Field(ms("1s"), description="smallest slice of event time; fixed for an app")
    windows: tuple[Duration, ...] = Field(
        (ms("1m"),), description="tumbling windows that are judged and published; fixed for an app"
    )
    allowed_lateness: Duration = Field(ms("10s"), description="disorder within a partition that is waited for")
    max_skew: Duration = Field(ms("5s"), description="how far an event may lie after its own Kafka timestamp")
    idle_after: Duration = Field(
        ms("5s"), description="a partition that is read to its end and brings nothing this long is idle"
    )
    silence_after: Duration = Field(ms("10m"), description="all partitions idle this long: alert")

    @model_validator(mode="after")
    def _consistent(self) -> TimeSettings:
        if self.pane <= 0 or not self.windows:
            raise ValueError("pane must be above 0, and there must be at least one window")
        for window in self.windows:
            if window <= 0 or window % self.pane:
                raise ValueError(f"window {format_duration(window)} is no multiple of {format_duration(self.pane)}")
        if len(set(self.windows)) < len(self.windows):
            raise ValueError("a window size is named twice")
        if self.max_skew > self.allowed_lateness:
            raise ValueError("max_skew must not be above allowed_lateness, or one bad clock makes good events late")
        return self


class JoinSettings(Section):
    """How long predictions wait for their labels and feedback."""

    label_horizon: Duration = Field(ms("7d"), description="how long a prediction waits for its label")
    early_horizon: Duration = Field(ms("1h"), description="how much earlier than its prediction a label may be")
    grain: Duration = Field(ms("5m"), description="smallest window by prediction time; fixed for an app")
    revisions: tuple[Duration, ...] = (
        ms("0ms"),
        ms("1h"),
        ms("6h"),
        ms("1d"),
    )
    pending_rows: Annotated[int, Field(ge=1000, le=500_000_000, description="that a worker keeps waiting")] = 10_000_000


class BaselineSettings(Section):
    """What "normal" is: the first N values, unless a baseline is pinned."""

    first: Annotated[int, Field(ge=100, le=1_000_000, description="values that make a measure's baseline")] = 10_000


SequentialName = Literal["cusum", "adwin", "page_hinkley", "e_sr"]


class DetectionSettings(Section):
    """What rings, and when; a judge reads these from its own topic, so that a replay judges alike."""

    numeric: tuple[Literal["psi", "ks", "js", "wasserstein"], ...] = ("psi", "ks")
    categorical: tuple[Literal["psi", "js", "chi2"], ...] = ("psi",)
    input: tuple[SequentialName, ...] = Field((), description="sequential detectors of what predictions say")
    outcome: tuple[SequentialName, ...] = Field(("cusum",), description="sequential detectors of what labels say")
    false_alarms: Rate = Field("1 per week", description="that a model may give; half for cusum, half for window tests")
    false_discovery_rate: float | None = Field(
        None, gt=0, lt=0.5, description="over the measures of a window, in place of the share of `false_alarms`"
    )
    min_count: Annotated[int, Field(ge=10, description="values below which a window is not judged")] = 50
    tolerance: dict[str, float] = Field(
        {}, description="effect that is still no drift, by test: psi, ks, js, wasserstein, chi2, missing, …"
    )
    persistence: Annotated[int, Field(ge=1, le=100, description="windows in a row before an alert opens")] = 1
    recovery: Annotated[int, Field(ge=1, le=100, description="clean windows before it is resolved")] = 2
    cooldown: Duration = Field(ms("1h"), description="least event time between two records of a cause")
    adwin_delta: Annotated[float, Field(gt=0, lt=1)] = 0.002
    page_hinkley_threshold: Annotated[float, Field(gt=0)] = 50.0
    page_hinkley_delta: Annotated[float, Field(ge=0)] = 0.05
    e_sr_arl0: Annotated[float, Field(ge=100, description="least mean number of values between false alarms")] = 1e6
    limits: tuple[str, ...] = Field((), description="static limits such as `latency_ms.p99 > 250`")


class CapSettings(Section):
    """Bounds on what input can grow; what is above them is counted under `__other__`."""

    models: Annotated[int, Field(ge=1)] = 1_000
    versions: Annotated[int, Field(ge=1)] = 16
    segments: Annotated[int, Field(ge=1)] = 200
    measures: Annotated[int, Field(ge=10)] = 1_000
    model_ttl: Duration = ms("7d")


class CommitSettings(Section):
    """A commit comes after any of these, whichever is first."""

    interval: Duration = ms("1s")
    events: Annotated[int, Field(ge=1)] = 100_000
    snapshot_interval: Duration = ms("1m")


class HttpSettings(Section):
    """Where /metrics, /healthz and /readyz are served; loopback unless told otherwise."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    enabled: bool = True


class Settings(Section):
    """All settings of one app."""

    app: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "stream-monitor"
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    time: TimeSettings = TimeSettings()
    segments: tuple[tuple[str, ...], ...] = Field((), description="fields that split a model's events")
    join: JoinSettings = JoinSettings()
    baseline: BaselineSettings = BaselineSettings()
    detection: DetectionSettings = DetectionSettings()
    caps: CapSettings = CapSettings()
    commit: CommitSettings = CommitSettings()
    http: HttpSettings = HttpSettings()

    @model_validator(mode="after")
    def _grain_fits(self) -> Settings:
        for window in self.time.windows:
            if window > self.join.grain and window % self.join.grain:
                raise ValueError(
                    f"window {format_duration(window)} is no multiple of join.grain {format_duration(self.join.grain)}"
                )
        return self

    def topic(self, role: str) -> str:
        """The name of the topic with this role."""
        return self.topics.names.get(role, f"{self.app}.{role}")

    def structure(self) -> str:
        """A hash of what cannot change under one app name, for panes and windows in flight would lose their meaning."""
        fixed = {"time": self.time.model_dump(include={"pane", "windows"}), "segments": self.segments,
                 "grain": self.join.grain}  # fmt: skip
        return hashlib.sha256(orjson.dumps(fixed, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from a YAML file (None: defaults) and `STREAM_MONITOR__SECTION__KEY` variables.

    Raises SettingsError with every mistake of the file at once.
    """
    raw: Any = {}
    if path is not None:
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read settings from {path}: {error}") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: the settings must be a mapping of sections")
    _override(raw, os.environ if environ is None else environ)
    return parse(raw, str(path or "defaults"))


def parse(raw: Mapping[str, Any], source: str = "settings") -> Settings:
    """Validate settings; SettingsError lists every mistake and the nearest known key of unknown ones."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise SettingsError(f"{source}: {len(lines)} mistake(s)\n" + "\n".join(f"  {line}" for line in lines)) from None


def _override(raw: dict[str, Any], environ: Mapping[str, str]) -> None:
    for name, text in environ.items():
        if not name.startswith("STREAM_MONITOR__"):
            continue
        *sections, key = name.removeprefix("STREAM_MONITOR__").lower().split("__")
        place = raw
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise SettingsError(f"{name}: {section} is no section")
        place[key] = yaml.safe_load(text)


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    known = _keys_at(problem["loc"][:-1])
    near = difflib.get_close_matches(str(problem["loc"][-1]), known, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"{where}: unknown key; {hint}"


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in location:
        kind = section.model_fields[str(part)].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        section = kind
    return list(section.model_fields)


_JUDGED = {"detection", "baseline", "caps", "join", "time", "segments"}


def judged_text(settings: Settings) -> str:
    """The settings that a judge obeys, as they are published to its topic."""
    return orjson.dumps(settings.model_dump(mode="json", include=_JUDGED), option=orjson.OPT_SORT_KEYS).decode()


def in_force(base: Settings, text: str) -> Settings:
    """The settings with the judged sections that the log says; SettingsError when the structure differs."""
    recorded = parse({**base.model_dump(mode="json", exclude=_JUDGED), **orjson.loads(text)}, "recorded settings")
    if recorded.structure() != base.structure():
        raise SettingsError(
            "pane, windows, segments or grain differ from those of the running app "
            f"{base.app!r}: profiles in flight would lose their meaning. Keep them, or choose another app name."
        )
    return recorded
