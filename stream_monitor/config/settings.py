"""The settings: one YAML file, every key of which an environment variable can override. No file at all works too.

Grammar: sections are nouns in the order of the stream; durations are written with their unit (`500ms`, `10s`, `5m`,
`6h`, `7d`); unknown keys are refused with the nearest known one named.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError, model_validator

from stream_monitor.config import secrets, variables, yaml_text
from stream_monitor.config.detection import (
    BaselineSettings,
    DetectionSettings,
    SampleSettings,
    Section,
    TimeSettings,
    overridden,
)
from stream_monitor.config.durations import HOUR, Duration, format_duration, ms
from stream_monitor.config.http import DashboardSettings, HttpSettings, LogSettings
from stream_monitor.config.notify import NotifySettings
from stream_monitor.errors import SettingsError, suggest
from stream_monitor.events.dead_letters import DeadLetterEncoder, Kept
from stream_monitor.events.privacy import Privacy


def _with_ports(servers: str) -> str:
    """Servers with ports that there are: the client takes 99999 for 34463 without a word."""
    for server in servers.split(","):
        _, colon, port = server.strip().rpartition(":")
        if colon and port.isdecimal() and not (len(port) <= 5 and 0 < int(port) <= 65_535):
            raise ValueError(f"{server.strip()[:80]!r}: a port is a number from 1 to 65535")
    return servers


class KafkaSettings(Section):
    """How to reach Kafka."""

    bootstrap_servers: Annotated[str, AfterValidator(_with_ports)] = Field(
        "localhost:9092", description="host:port of some brokers"
    )
    start: Literal["earliest", "latest"] = Field("earliest", description="where a new app begins to read")
    transaction_timeout: Duration = Field(
        ms("30s"), description="a dead worker's open transaction holds readers this long"
    )
    worker_id: str | None = Field(
        None, description="unique name of this worker; default: host name, number of the user and a free slot"
    )
    options: Annotated[dict[str, str | int | float | bool | SecretStr], BeforeValidator(secrets.hidden_options)] = (
        Field(
            {},
            description="passed to librdkafka as it is: security.protocol, sasl.username, ssl.ca.location …; "
            "`file:/run/secrets/x` reads a value from a file",
        )
    )

    def client_options(self) -> dict[str, Any]:
        """The options with their secrets in clear text, for a client and nothing else."""
        return {name: secrets.reveal(value) for name, value in self.options.items()}


ROLES_IN = ("predictions", "labels", "feedback", "observations")
ROLES_OUT = ("alerts", "metrics", "dead-letters")
ROLES_OPTIONAL = ("health", "remarks", "receipts", "decisions")
"""Topics that are made where the settings allow it; without one what needs it is off, and told."""
ROLES_INTERNAL = ("profiles", "pending", "state", "baselines")
ROLES_REKEYED = ("labels-by-id", "feedback-by-id")
"""Only where a rekey stage comes first."""
ROLES = (*ROLES_IN, *ROLES_INTERNAL, *ROLES_OUT, *ROLES_REKEYED, *ROLES_OPTIONAL)


FormatName = Literal["json", "cloudevents"]


class TopicSettings(Section):
    """Names of topics that are not `<app>.<role>`, and how missing ones are made."""

    create: bool = Field(True, description="make missing topics at the start")
    partitions: Annotated[int, Field(ge=1, le=10_000, description="of new input topics, unless predictions exists")] = 8
    replication_factor: int = Field(-1, description="-1: the broker's default")
    partitioner: Literal["murmur2", "crc32"] = Field(
        "murmur2",
        description="how producers of predictions place ids: murmur2 (Java; the README's example) or crc32 "
        "(librdkafka's default)",
    )
    names: dict[str, str] = Field({}, description="role: name, for example {predictions: ml.inference}")
    formats: dict[str, FormatName] = Field(
        {}, description="role: what the records of an input topic hold, json or cloudevents; json where none is named"
    )

    @model_validator(mode="after")
    def _known(self) -> TopicSettings:
        for section, known in ((self.names, ROLES), (self.formats, ROLES_IN)):
            for role in section:
                if role not in known:
                    raise ValueError(f"no topic role {role!r}; roles are {', '.join(known)}")
        return self


class SignalSettings(Section):
    """What it means that a signal of feedback never comes."""

    absent: Literal["missing", "zero"] = "missing"
    after: Duration = ms("1h")
    models: str = "*"


class JoinSettings(Section):
    """How long predictions wait for their labels and feedback."""

    label_horizon: Duration = Field(ms("7d"), description="how long a prediction waits for its label")
    early_horizon: Duration = Field(ms("1h"), description="how much earlier than its prediction a label may be")
    rekey: bool = Field(
        False,
        description="labels and feedback are not keyed by id: a stage of its own puts them where ids belong; on by "
        "itself where these topics have other partition counts than predictions",
    )
    grain: Duration = Field(ms("5m"), description="smallest window by prediction time; fixed for an app")
    revisions: tuple[Duration, ...] = (
        ms("0ms"),
        ms("1h"),
        ms("6h"),
        ms("1d"),
    )
    pending_rows: Annotated[int, Field(ge=1000, le=500_000_000, description="that a worker keeps waiting")] = 10_000_000
    signals: Annotated[dict[str, SignalSettings], Field(max_length=16)] = Field(
        {},
        description="signals that count as 0 where none came within `after` (1h), for models by a pattern of their "
        "names: {click: {absent: zero, after: 30m, models: shop*}}; a later one does not count",
    )

    @model_validator(mode="after")
    def _signals_come_in_time(self) -> JoinSettings:
        for name, signal in self.signals.items():
            if signal.absent == "zero" and not 0 < signal.after <= self.label_horizon:
                raise ValueError(f"signals: after of {name!r} must be above 0 and at most label_horizon")
        return self


class PrivacySettings(Section):
    """Features and tags of which nothing may be kept as it is: see security.md."""

    hash: tuple[str, ...] = Field(
        (), description="features and tags of which a keyed hash is kept in place of the value"
    )
    drop: tuple[str, ...] = Field((), description="features and tags that are left out as if they were not there")
    key: Annotated[SecretStr | None, AfterValidator(secrets.checked_key)] = Field(
        None, description="of the hashes, needed for `hash`; at least 16 characters; another key makes other hashes"
    )

    @model_validator(mode="after")
    def _consistent(self) -> PrivacySettings:
        if self.hash and self.key is None:
            raise ValueError("hash needs a key: set privacy.key (a file, or STREAM_MONITOR__PRIVACY__KEY)")
        if both := set(self.hash) & set(self.drop):
            raise ValueError(f"{', '.join(sorted(both))}: either hash or drop")
        return self

    def rules(self) -> Privacy:
        """What replaces values by these settings."""
        return Privacy(self.hash, self.drop, None if self.key is None else self.key.get_secret_value())


class DeadLetterSettings(Section):
    """What is kept of events that could not be counted."""

    raw: Kept | None = Field(
        None, description="full, redacted (JSON without private fields) or none; default: full, redacted with `privacy`"
    )
    limit: Annotated[float, Field(gt=0, le=1, description="share of a partition's records that get a letter each")] = (
        0.1
    )
    burst: Annotated[int, Field(ge=1, le=10**9, description="and so many besides, at once or over time")] = 10_000
    above: Literal["count", "stop"] = Field(
        "count", description="what follows beyond: count (only their number is published) or stop (the worker ends)"
    )


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
    bytes: Annotated[int, Field(ge=1, description="of records taken in")] = 64_000_000
    snapshot_interval: Duration = ms("1m")


MOST_NUMBERS = 65_536
"""Of all embeddings of an event, where they travel: 262 kB, which a record holds."""


class Settings(Section):
    """All settings of one app."""

    app: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "stream-monitor"
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    time: TimeSettings = TimeSettings()
    segments: tuple[tuple[str, ...], ...] = Field((), description="fields that split a model's events")
    embeddings: dict[str, Annotated[int, Field(ge=2, le=65_536)]] = Field(
        {}, description="features that are arrays of numbers, and how many: {text_vector: 384}"
    )
    privacy: PrivacySettings = PrivacySettings()
    dead_letters: DeadLetterSettings = DeadLetterSettings()
    join: JoinSettings = JoinSettings()
    sample: SampleSettings = SampleSettings()
    baseline: BaselineSettings = BaselineSettings()
    detection: DetectionSettings = DetectionSettings()
    models: dict[str, dict[str, Any]] = Field(
        {},
        description='detection of some models otherwise, by a pattern of their names: {"fraud*": {min_count: 200}}. '
        "The keys are those of `detection`, the first pattern that matches counts, and `tolerance` is merged",
    )
    caps: CapSettings = CapSettings()
    commit: CommitSettings = CommitSettings()
    http: HttpSettings = HttpSettings()
    dashboard: DashboardSettings = DashboardSettings()
    notify: NotifySettings = NotifySettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _grain_fits(self) -> Settings:
        for window in self.time.windows:
            if window.size > self.join.grain and window.size % self.join.grain:
                size, grain = format_duration(window.size), format_duration(self.join.grain)
                raise ValueError(f"window {size} is no multiple of join.grain {grain}")
        return self

    @model_validator(mode="after")
    def _slices_fit(self) -> Settings:
        if self.baseline.kind == "hour_of_week" and HOUR % self.time.pane:
            raise ValueError("baseline.kind hour_of_week needs a time.pane that divides an hour")
        return self

    @model_validator(mode="after")
    def _models_have_settings(self) -> Settings:
        for pattern in self.detection_of:
            if not pattern:
                raise ValueError("models: a pattern is empty; write * for all models")
        return self

    @cached_property
    def detection_of(self) -> dict[str, DetectionSettings]:
        """The detection settings of models by pattern: those of all, with what `models` says.

        Raises:
            ValueError: a key or value of `models` is wrong.
        """
        return {pattern: overridden(self.detection, pattern, given) for pattern, given in self.models.items()}

    def for_model(self, model: str) -> Settings:
        """The settings of a model: those of the first pattern of `models` that its name matches."""
        for pattern, detection in self.detection_of.items():
            if fnmatchcase(model, pattern):
                return self.model_copy(update={"detection": detection})
        return self

    @model_validator(mode="after")
    def _segments_are_kept(self) -> Settings:
        for spec in self.segments:
            for name in set(spec) & set(self.privacy.drop):
                raise ValueError(
                    f"segments has {name!r}, which privacy.drop leaves out: hash it, or leave out the segment"
                )
        return self

    @model_validator(mode="after")
    def _embeddings_are_kept(self) -> Settings:
        if private := set(self.embeddings) & {*self.privacy.hash, *self.privacy.drop}:
            raise ValueError(f"embeddings has {sorted(private)}, of which privacy keeps nothing: take it out of either")
        if self.sample.rows and sum(self.embeddings.values()) > MOST_NUMBERS:
            raise ValueError(
                f"embeddings have {sum(self.embeddings.values()):,} numbers an event: with sample.rows they travel in "
                f"records that hold {MOST_NUMBERS:,}; leave some out, or set sample.rows to 0"
            )
        return self

    def letters(self) -> DeadLetterEncoder:
        """What writes dead letters by these settings."""
        privacy = self.privacy.rules()
        return DeadLetterEncoder(self.dead_letters.raw or ("redacted" if privacy else "full"), privacy)

    def topic(self, role: str) -> str:
        """The name of the topic with this role."""
        return self.topics.names.get(role, f"{self.app}.{role}")

    def behind_rekey(self) -> Settings:
        """The settings of a describe stage that reads what a rekey stage has put in its place."""
        names = {role.removesuffix("-by-id"): self.topic(role) for role in ROLES_REKEYED}
        topics = self.topics.model_copy(update={"names": {**self.topics.names, **names}})
        return self.model_copy(update={"topics": topics})

    @property
    def align(self) -> int:
        """How far (ms) a partition may run ahead of the slowest one that still has something to read.

        The label watermark follows the predictions at a horizon's distance: half a horizon is the most that predictions
        may run ahead of labels that are there already but unread.
        """
        return min(max(3_600_000, 1_000 * self.time.pane), self.join.label_horizon // 2)

    def profile_structure(self) -> str:
        """A hash of what profiles are made of: those of another structure cannot be merged with them."""
        fixed = {"pane": self.time.pane, "segments": self.segments, "grain": self.join.grain}
        return hashlib.sha256(orjson.dumps(fixed, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    def structure(self) -> str:
        """A hash of what cannot change under one app name, for panes and windows in flight would lose their meaning."""
        fixed = {"time": self.time.model_dump(include={"pane", "windows"}), "segments": self.segments,
                 "grain": self.join.grain}  # fmt: skip
        return hashlib.sha256(orjson.dumps(fixed, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def load(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from a YAML file (None: defaults) and `STREAM_MONITOR__SECTION__KEY` variables.

    Raises SettingsError with every mistake of the file at once.
    """
    raw: Any = {} if path is None else yaml_text.read_file(path) or {}
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: the settings must be a mapping of sections")
    environ = os.environ if environ is None else environ
    given = variables.override(raw, environ, list(_paths(Settings)))
    secrets.read_files(raw, environ)
    return parse(raw, str(path or "environment"), given)


def parse(raw: Mapping[str, Any], source: str = "settings", given: variables.Given | None = None) -> Settings:
    """Validate settings; SettingsError lists every mistake, the nearest known key of unknown ones, and its variable."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        lines = [variables.named(problem["loc"], given or {}) + explain(problem) for problem in error.errors()]
        raise SettingsError(f"{source}: {len(lines)} mistake(s)\n" + "\n".join(f"  {line}" for line in lines)) from None


def explain(problem: Any) -> str:
    """A mistake that pydantic found, as a line: where it is, and what was meant perhaps."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "tuple_type":
        return f"{where}: {_as_list(problem)}"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    known = _keys_at(problem["loc"][:-1])
    return f"{where}: unknown key; {suggest(str(problem['loc'][-1]), known, 'known keys')}"


def _as_list(problem: Any) -> str:
    """How to write a list that was written as something else."""
    value = problem["input"] if isinstance(problem["input"], str | int | float) else "…"
    if problem["loc"][0] != "segments":
        return f"must be a list: write [{value}]"
    written = f"[[{value}]]"
    return f"must be a list of lists of fields: write {written}, or [[country], [country, device]] for several"


def _paths(section: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where every setting lies."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _paths(kind, (*above, name))
        else:
            yield (*above, name)


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    section: type[BaseModel] = Settings
    for part in location:
        kind = section.model_fields[str(part)].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        section = kind
    return list(section.model_fields)
