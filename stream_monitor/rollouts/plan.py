"""The rollout file: which version replaces which, in which steps, and what must not get worse.

Grammar: as the settings; unknown keys are refused with the nearest known one named. A margin is `10%` of the primary's
mean, `0.5pp` of a rate, a number in the measure's unit, or a sum of these, such as `10% + 0.5pp`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from stream_monitor.config import yaml_text
from stream_monitor.config.detection import Section
from stream_monitor.config.durations import Duration, ms
from stream_monitor.errors import SettingsError, suggest
from stream_monitor.profiles.measures import measure_named

MOST_BYTES = 65_536
"""Of a rollout file."""
MOST_GUARDS, MOST_SEGMENTS, MOST_STEPS = 20, 50, 50
FACTORS = (1, 2, 4)
"""A guard bets on a pass at so many times its margin."""
LEAST_TIMES = 0.05
"""The least r of a line, where less is worse: four margins of 30 % would leave nothing to compare with."""
CANARY, SHADOW = "canary", "shadow"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
ERROR, ABSOLUTE_ERROR, AGREES = "error", "absolute_error", "agrees"
PAIR_MEASURES = (ERROR, ABSOLUTE_ERROR, AGREES)
"""What is judged in pairs where two versions answer each request; `agrees` is there only."""
SIGNAL = "signal."
NUMBERS_OF_LABELS = ("squared_error", "bias", "relative_error")
RATE_MEASURES = ("null_answer", "human_override")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(%|pp)?")


class Margin(NamedTuple):
    """How much worse is tolerated: a part of the primary's mean, and an absolute amount."""

    share: float
    plus: float = 0.0

    def line(self, factor: float, worse: Literal["up", "down"]) -> tuple[float, float]:
        """(r, d) of the line at so many times the margin.

        >>> Margin(0.1, 0.005).line(2, "up")
        (1.2, 0.01)
        >>> Margin(0.1, 0.005).line(1, "down")
        (0.9, -0.005)
        """
        sign = 1 if worse == "up" else -1
        return max(1 + sign * factor * self.share, LEAST_TIMES), sign * factor * self.plus


def parse_margin(value: Any) -> Margin:
    """A margin as people write it.

    >>> parse_margin("10% + 0.5pp"), parse_margin(3)
    (Margin(share=0.1, plus=0.005), Margin(share=0.0, plus=3.0))
    """
    if isinstance(value, Margin):
        return value
    share = plus = 0.0
    for part in str(value).split("+"):
        match = _PART.fullmatch(part.strip())
        if match is None or isinstance(value, bool):
            raise ValueError(f"{str(value)[:40]!r} is no margin; write 10%, 0.5pp, a number, or a sum: 10% + 0.5pp")
        number = float(match[1])
        share += number / 100 if match[2] == "%" else 0.0
        plus += number / 100 if match[2] == "pp" else 0.0 if match[2] else number
    return Margin(share, plus)


def parse_share(value: Any) -> Any:
    """A share as people write it: `5%` or .05."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", str(value).strip())
    return float(match[1]) / 100 if match else value


Tolerated = Annotated[Margin, PlainValidator(parse_margin)]
Weight = Annotated[float, BeforeValidator(parse_share), Field(gt=0, lt=1)]
Share = Annotated[float, BeforeValidator(parse_share), Field(ge=0, le=1)]
Alpha = Annotated[float, BeforeValidator(parse_share), Field(ge=1e-6, le=0.5)]


class MeasureSource(NamedTuple):
    """Where the values of a guard on predictions come from."""

    measure: str
    """A measure of the input timeline."""
    form: Literal["rate", "missing", "category", "mean", "quantile"]
    category: str = ""


class Guard(Section):
    """A measure that must not get worse."""

    measure: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="`error`, `signal.NAME`, or a measure of predictions: `latency_ms.p99` a quantile, `amount.mean` a "
        "mean, `amount.missing` the share without a value, `prediction=deny` the share of a category"
    )
    margin: Annotated[Margin, PlainValidator(parse_margin)] = Field(
        Margin(0.1), description="how much worse is tolerated"
    )
    worse: Literal["up", "down"] = Field("up", description="the direction that is harm")
    limit: Annotated[float | None, BeforeValidator(parse_share)] = Field(
        None, description="a line of its own, such as 2%, in place of what the primary does"
    )
    report: bool = Field(False, description="only shown: it stops and passes nothing")

    @property
    def quantile(self) -> float | None:
        """The quantile that is compared; None where it is a mean or a rate."""
        return QUANTILES.get(self.measure.rpartition(".")[2]) if "." in self.measure else None

    @property
    def is_outcome(self) -> bool:
        """Whether it waits for labels or feedback."""
        return self.measure in (ERROR, ABSOLUTE_ERROR) or self.is_signal

    @property
    def is_joined(self) -> bool:
        """Whether it is about what was joined to predictions, and no measure of predictions."""
        return self.is_outcome or self.measure == AGREES

    @property
    def is_signal(self) -> bool:
        """Whether it waits for feedback."""
        return self.measure.startswith(SIGNAL)

    @property
    def is_rate(self) -> bool:
        """Whether each value is 0 or 1."""
        return self.is_outcome or self.source.form in ("rate", "missing", "category")

    @property
    def source(self) -> MeasureSource:
        """What it reads of a measure of predictions."""
        name, _, category = self.measure.partition("=")
        if category:
            return MeasureSource(measure_named(name), "category", category)
        name, _, suffix = self.measure.rpartition(".")
        if name and suffix in QUANTILES:
            return MeasureSource(measure_named(name), "quantile")
        if name and re.fullmatch(r"p[0-9.]+", suffix):
            raise ValueError(f"{self.measure}: quantiles are {', '.join('.' + known for known in QUANTILES)}")
        if name and suffix in ("mean", "missing"):
            return MeasureSource(measure_named(name), "mean" if suffix == "mean" else "missing")
        return MeasureSource(measure_named(self.measure), "rate" if self.measure in RATE_MEASURES else "mean")

    @model_validator(mode="after")
    def _consistent(self) -> Guard:
        if self.measure in NUMBERS_OF_LABELS:
            raise ValueError(
                f"{self.measure}: a guard on labels is `error`, a rate; guards on distances to labels are not there yet"
            )
        if not self.is_joined:
            _ = self.source  # which refuses what is no measure
        if self.quantile is not None and (self.worse == "down" or self.margin.plus):
            raise ValueError(f"{self.measure}: a quantile is guarded against a rise, by a margin in percent")
        if self.limit is not None and (self.is_joined or self.quantile is not None):
            raise ValueError(f"{self.measure}: a limit is for rates and means of predictions, not of outcomes")
        return self


class Step(Section):
    """A weight, and what it takes to go on."""

    weight: Annotated[float, BeforeValidator(parse_share), Field(gt=0, lt=1)] = Field(
        0.0, description="the candidate's share; in shadow there is none"
    )
    duration: Duration = Field(0, alias="for", description="event time at this weight; a hold does not count")
    count: Annotated[int, Field(ge=0)] = Field(0, description="events of the candidate, of the slowest guard")
    margins: Literal[0, 1, 2, 4] | None = Field(
        None, description="each guard passes at so many times its margin; 0: no harm is enough. Of the last step 1"
    )


EXTERNAL = (Step.model_construct(weight=0.0, duration=0, count=0, margins=1),)
"""The steps of a rollout whose weights somebody else sets: one, which ends when each guard passes at its margin."""


def _steps(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    if value == "external":
        return EXTERNAL
    if isinstance(value, str):
        raise ValueError("steps are a list, or the word external: somebody else sets the weights")
    return read(value)


Steps = Annotated[tuple[Step, ...], Field(max_length=MOST_STEPS), WrapValidator(_steps)]


class Watch(Section):
    """What follows a promotion."""

    duration: Duration = Field(0, alias="for", description="harm still rolls back")
    keep: Weight = Field(0.05, description="the primary's share meanwhile")


class Alphas(Section):
    """Probabilities of a wrong verdict, over the whole rollout."""

    harm: Alpha = Field(0.05, description="that a candidate within all margins is rolled back")
    passes: Alpha = Field(0.05, alias="pass", description="that a candidate beyond a margin passes its guard")
    check: Alpha = Field(0.001, description="that a check holds without a cause")


def _default_guards() -> tuple[Guard, ...]:
    given = (("error", "10%"), ("null_answer", "0.5pp"), ("latency_ms.p99", "20%"))
    return tuple(Guard(measure=measure, margin=parse_margin(text)) for measure, text in given)


AGREEMENT = Guard(measure=AGREES, margin=parse_margin("5%"), report=True)
"""The guard that shadow has besides, where a file names none."""


def _settle(value: Any) -> Any:
    return value if value == "auto" else ms(value)


class RolloutPlan(Section):
    """One rollout."""

    rollout: Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,64}$")] = Field(description="name, unique in its model")
    model: Annotated[str, Field(min_length=1, max_length=128)]
    candidate: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="the new version")
    primary: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="the version that it may replace")
    pattern: Literal["canary", "shadow"] = Field(
        "canary", description="canary: requests are drawn by weights. shadow: both versions answer each request"
    )
    steps: Steps = ()
    watch: Watch | None = None
    guards: Annotated[tuple[Guard, ...], Field(min_length=1, max_length=MOST_GUARDS)] = Field(
        default_factory=_default_guards
    )
    alpha: Alphas = Alphas()
    settle: Annotated[Literal["auto"] | int, BeforeValidator(_settle)] = Field(
        "auto", description="age at which labels count for a pass"
    )
    segments: Annotated[tuple[str, ...], Field(max_length=2)] = Field((), description="harm is sought in each value")
    design_effect: Literal["auto"] | Annotated[float, Field(ge=1, le=1_000)] = Field(
        "auto", description="how many requests act as one, at least"
    )
    hold_at: Annotated[float, Field(ge=1)] = Field(4.0, description="a harm bet worth this stops the next step")
    stale_after: Duration = Field(ms("30m"), description="event time without candidate, primary or labels: hold")
    longest: Duration = Field(ms("14d"), alias="max", description="then it is inconclusive")
    at_max: Literal["primary", "stay"] = "primary"
    approve: tuple[Literal["start", "step", "promote"], ...] = Field((), description="decisions that wait for a person")

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """In shadow there is one step, and one more guard by default."""
        if not isinstance(given, dict) or given.get("pattern") != SHADOW:
            return given
        return {"steps": [{}], "guards": (*_default_guards(), AGREEMENT)} | given

    @model_validator(mode="after")
    def _of_pattern(self) -> RolloutPlan:
        if self.is_shadow:
            _check_shadow(self)
        elif not self.is_external and (not self.steps or any(step.weight == 0 for step in self.steps)):
            raise ValueError("steps: a canary has at least 1 step, and each of them a weight")
        for guard in self.guards if not self.is_shadow else ():
            if guard.measure == ABSOLUTE_ERROR:
                raise ValueError(
                    "absolute_error: a canary's guard on labels is `error`, a rate; distances are for shadow"
                )
            if guard.measure == AGREES:
                raise ValueError("agrees compares two answers to one request: it is for `pattern: shadow`")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> RolloutPlan:
        if self.candidate == self.primary:
            raise ValueError("candidate and primary are the same version")
        names = [guard.measure for guard in self.guards]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"guards name {', '.join(sorted(twice))} twice")
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError("the weights of steps must rise")
        if all(guard.report for guard in self.guards):
            raise ValueError("every guard is only reported: nothing would stop this rollout")
        return self

    @property
    def is_shadow(self) -> bool:
        """Whether both versions answer each request, and no request moves."""
        return self.pattern == SHADOW

    def margins_of(self, step: int) -> int:
        """At how many margins each guard must pass to leave this step, counted from 1."""
        given = self.steps[step - 1].margins
        return given if given is not None else int(step == len(self.steps))

    @property
    def is_external(self) -> bool:
        """Whether somebody else sets the weights: decisions name none, and nobody checks the split."""
        return self.steps is EXTERNAL

    @property
    def given_effect(self) -> float:
        """The design effect that the file gives, at least 1."""
        return 1.0 if self.design_effect == "auto" else self.design_effect


def _check_shadow(plan: RolloutPlan) -> None:
    """Raise ValueError for what makes no sense where no request moves."""
    if len(plan.steps) != 1 or any("weight" in step.model_fields_set for step in plan.steps):
        raise ValueError(
            "steps: in shadow no request moves, so there is one step, without a `weight`: {for: 1h, count: 500}"
        )
    if plan.watch is not None:
        raise ValueError("watch: in shadow nothing is promoted, so there is nothing to watch")
    for guard in plan.guards:
        if guard.is_signal:
            raise ValueError(f"{guard.measure}: in shadow all feedback is about what the primary answered")
        if guard.measure in PAIR_MEASURES and guard.worse == "down":
            raise ValueError(f"{guard.measure}: in pairs more is worse")
        if guard.measure == ABSOLUTE_ERROR and (guard.margin.share or not guard.margin.plus):
            raise ValueError("absolute_error: in pairs a margin is a number above 0, in the measure's unit")


def read_plan(path: Path) -> RolloutPlan:
    """The rollout that a file describes; SettingsError with every mistake at once."""
    return parse_plan(read_raw(path), str(path))


def read_raw(path: Path) -> bytes:
    """The bytes of a rollout file, or one more than it may have; SettingsError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"cannot read a rollout from {path}: {error}") from error


def parse_plan(raw: bytes, source: str = "rollout") -> RolloutPlan:
    """The rollout that a text describes; SettingsError with every mistake at once."""
    if len(raw) > MOST_BYTES:
        raise SettingsError(f"{source} has more than {MOST_BYTES:,} bytes: is it a rollout?")
    try:
        read = yaml_text.read(raw.decode("utf-8-sig"), source)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{source} is not UTF-8: {error}") from None
    if not isinstance(read, dict):
        raise SettingsError(f"{source}: a rollout is a mapping of keys")
    try:
        return RolloutPlan.model_validate(read)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise SettingsError(f"{source}: {len(lines)} mistake(s)\n" + "\n".join(f"  {line}" for line in lines)) from None


_SECTIONS: dict[str, type[BaseModel]] = {"steps": Step, "guards": Guard, "watch": Watch, "alpha": Alphas}


def _explain(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "rollout"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    section = _SECTIONS.get(str(problem["loc"][0]), RolloutPlan) if len(problem["loc"]) > 1 else RolloutPlan
    known = [field.alias or name for name, field in section.model_fields.items()]
    return f"{where}: unknown key; {suggest(str(problem['loc'][-1]), known, 'known keys')}"
