"""Sections of the settings with a module of their own, and what all sections have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from math import inf
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from stream_monitor.config.durations import Duration, Rate, WindowPace, WindowSpec, format_duration, ms
from stream_monitor.errors import suggest

MOST_SLIDES = 288
"""Slides of a window: so many parts of it are kept at most. 288 are a day by five minutes."""


LADDER = tuple(WindowSpec.tumbling(ms(size)) for size in ("1m", "10m", "1h", "6h", "1d"))
"""The default windows: fast traffic is judged in the short ones, and rare events fill the long ones."""
LEAST_FIRST = 500
"""Fewest values of a baseline that ends with `baseline.first_within`."""


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes, and so are numbers that JSON, and so the log, has not."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TimeSettings(Section):
    """Event time: panes, windows, and what is late."""

    pane: Duration = Field(ms("1s"), description="smallest slice of event time; fixed for an app")
    windows: tuple[WindowPace, ...] = Field(
        LADDER,
        description="windows that are judged and published: `1h` tumbling, `1h/5m` sliding (the last hour, every five "
        "minutes); fixed for an app. An app that runs keeps those of its log where none are named",
    )
    allowed_lateness: Duration = Field(ms("10s"), description="disorder within a partition that is waited for")
    max_skew: Duration = Field(ms("5s"), description="how far an event may lie after its own Kafka timestamp")
    jump: Duration = Field(
        ms("1h"),
        description="a time further ahead than this moves a partition's clock only when a second event, of another id, "
        "comes as near to it; where brokers set the records' times (LogAppendTime), `max_skew` does this",
    )
    idle_after: Duration = Field(
        ms("5s"), description="a partition that is read to its end and brings nothing this long is idle"
    )
    silence_after: Duration = Field(
        ms("10m"), description="all partitions idle this long: alert; labels that miss for less are no silence"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TimeSettings:
        if self.pane <= 0 or not self.windows:
            raise ValueError("pane must be above 0, and there must be at least one window")
        for window in self.windows:
            self._check(window)
        if len({window.size for window in self.windows}) < len(self.windows):
            raise ValueError("a window size is named twice: of each size one slide, windows are told apart by size")
        if self.jump < self.allowed_lateness:
            raise ValueError("jump must not be below allowed_lateness: a gap that short is disorder")
        if self.max_skew > self.allowed_lateness:
            raise ValueError("max_skew must not be above allowed_lateness, or one bad clock makes good events late")
        return self

    def _check(self, window: WindowSpec) -> None:
        size, slide, pane = (format_duration(x) for x in (*window, self.pane))
        if window.size <= 0 or window.size % self.pane:
            raise ValueError(f"window {size} is no multiple of {pane}")
        if window.slide <= 0 or window.slide % self.pane:
            raise ValueError(f"window {window}: its slide {slide} is no multiple of time.pane {pane}")
        if window.size % window.slide:
            raise ValueError(f"window {window}: its size {size} is no multiple of its slide {slide}")
        if window.size // window.slide > MOST_SLIDES:
            least = format_duration(-(-window.size // (MOST_SLIDES * self.pane)) * self.pane)
            raise ValueError(
                f"window {window} is {window.size // window.slide:,} slides long, at most {MOST_SLIDES} are kept: "
                f"slide by {least} or more"
            )


class BaselineSettings(Section):
    """What "normal" is: first values, recent ones, or the same hour of earlier weeks; a pinned baseline goes before."""

    first: Annotated[int, Field(ge=100, le=1_000_000, description="values that make a measure's baseline")] = 10_000
    first_within: Duration | None = Field(
        ms("1d"),
        description=f"a baseline with at least {LEAST_FIRST} values is complete after this time, though fewer than "
        "`first` came; null: never",
    )
    kind: Literal["first", "rolling", "hour_of_week"] = Field(
        "first", description="first: those values for ever; rolling: the last `span`; hour_of_week: the same hours"
    )
    span: Duration = Field(ms("7d"), description="how much of the past a rolling baseline holds, in 28 slices")
    gap: Duration = Field(ms("1d"), description="how long before a window its rolling baseline ends")
    accept_after: Duration = Field(
        ms("14d"), description="a measure in alert this long is normal: recent baselines take it in again"
    )

    @model_validator(mode="after")
    def _consistent(self) -> BaselineSettings:
        if self.span < 28:
            raise ValueError("span must be at least 28ms, a millisecond a slice")
        return self


class SampleSettings(Section):
    """Rows of features that travel with the profiles, so that features are judged together: see detection/joint.md."""

    rows: Annotated[int, Field(ge=0, le=1_000)] = Field(
        0, description="events of a version and pane whose features are kept side by side; 0: none"
    )


SequentialName = Literal["cusum", "adwin", "page_hinkley", "e_sr", "ddm", "eddm", "hddm_a", "hddm_w", "fhddm", "kswin"]
_RIVERS = ("ddm", "eddm", "hddm_a", "hddm_w", "fhddm", "kswin")
"""Detectors that are River's, an optional dependency."""


def _installed(names: tuple[SequentialName, ...]) -> tuple[SequentialName, ...]:
    """Refuse detectors of River where it is missing: at the start, and not in the judge's loop."""
    lacking = [name for name in names if name in _RIVERS and find_spec("river") is None]
    if lacking:
        raise ValueError(f"{', '.join(lacking)} needs River, which is missing: pip install 'stream-monitor[river]'")
    return names


class WindowTest(NamedTuple):
    """A test of a window against its baseline, as the settings know it."""

    tolerance: float
    """The effect that is still no drift, in the test's own unit."""
    largest: float
    """The largest effect that there is."""
    kinds: tuple[Literal["numeric", "categorical", "joint", "quality", "volume", "loss"], ...]
    """What it may be chosen for; quality, volume and losses are always judged."""
    widths: bool = False
    """It looks at the widths of bins."""


WINDOW_TESTS = {
    "psi": WindowTest(0.1, inf, ("numeric", "categorical")),
    "ks": WindowTest(0.1, 1, ("numeric",)),
    "js": WindowTest(0.1, 1, ("numeric", "categorical")),
    "hellinger": WindowTest(0.1, 1, ("numeric", "categorical")),
    "l_infinity": WindowTest(0.1, 1, ("categorical",)),
    "wasserstein": WindowTest(0.1, inf, ("numeric",), widths=True),
    "tail": WindowTest(0.5, inf, ("numeric",)),
    "chi2": WindowTest(0.3, inf, ("categorical",)),
    "missing": WindowTest(0.02, 1, ("quality",)),
    "new_categories": WindowTest(0.01, 1, ("quality",)),
    "type_change": WindowTest(0.01, 1, ("quality",)),
    "volume": WindowTest(2.0, inf, ("volume",)),
    "late": WindowTest(0.02, 1, ("loss",)),
    "duplicate": WindowTest(0.02, 1, ("loss",)),
    "after_idle": WindowTest(0.02, 1, ("loss",)),
    "incomparable": WindowTest(0.02, 1, ("loss",)),
    "refused": WindowTest(0.02, 1, ("loss",)),
    "unjoined": WindowTest(0.1, 1, ("loss",)),
    "domain_classifier": WindowTest(0.1, 0.5, ("joint",)),
    "mmd": WindowTest(0.05, 2**0.5, ("joint",)),
    "pca_error": WindowTest(0.1, 0.5, ("joint",)),
}
"""By name. A numeric or categorical test is the function `test` of the module `detect.windows.<name>`. The judge
computes the quality tests with `detect.windows.shares`."""


def _chosen_for(kind: str) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Refuse tests that are none of a kind of measures."""
    names = [name for name, test in WINDOW_TESTS.items() if kind in test.kinds]

    def checked(chosen: tuple[str, ...]) -> tuple[str, ...]:
        for name in chosen:
            if name not in names:
                raise ValueError(f"there is no {kind} test {name!r}; {suggest(name, names, f'{kind} tests')}")
        return chosen

    return checked


def _tolerable(tolerance: dict[str, float]) -> dict[str, float]:
    for name, value in tolerance.items():
        if name not in WINDOW_TESTS:
            raise ValueError(f"there is no test {name!r}; {suggest(name, WINDOW_TESTS, 'tests')}")
        if value > (most := WINDOW_TESTS[name].largest):
            raise ValueError(f"{name} is at most {most:.3g}, so {value:g} is never reached: {most:.3g} switches it off")
        if name == "volume" and value < 1:
            raise ValueError(f"volume is a factor, at least 1, and not {value:g}: 2 tolerates half to double the count")
    return tolerance


class ErrorRise(Section):
    """A rise of the model's error that does not matter, see error_impact.md; the larger of the two holds."""

    relative: Annotated[float, Field(ge=0, description="to the error's baseline")] = 0.25
    absolute: Annotated[float, Field(ge=0, description="of an error rate: .01 is one answer in a hundred")] = 0.01

    def of(self, measure: str, baseline: float) -> float:
        """The tolerated rise of an error measure with this baseline, in its own unit."""
        return max(self.relative * baseline, self.absolute if measure == "error" else 0.0)


Sequentials = Annotated[tuple[SequentialName, ...], AfterValidator(_installed)]


class DetectionSettings(Section):
    """What rings, and when; a judge reads these from its own topic, so that a replay judges alike."""

    numeric: Annotated[tuple[str, ...], AfterValidator(_chosen_for("numeric"))] = ("psi", "ks")
    software: Annotated[tuple[str, ...], AfterValidator(_chosen_for("numeric"))] = Field(
        ("tail",), description="tests of software measures (latency, observations), besides those of `numeric`"
    )
    categorical: Annotated[tuple[str, ...], AfterValidator(_chosen_for("categorical"))] = ("psi",)
    joint: Annotated[tuple[str, ...], AfterValidator(_chosen_for("joint"))] = Field(
        ("domain_classifier", "mmd", "pca_error"), description="tests of rows, where `sample.rows` brings any"
    )
    input: Sequentials = Field((), description="sequential detectors of what predictions say")
    outcome: Sequentials = Field(("cusum",), description="sequential detectors of what labels say")
    feedback: Sequentials = Field(("cusum",), description="sequential detectors of feedback's signals")
    false_alarms: Rate = Field(
        "1 per week",
        description="that a model may give; shared by all calibrated detectors, see detection/false_alarms.md",
    )
    false_discovery_rate: float | None = Field(
        None, gt=0, lt=0.5, description="over the measures of a window, in place of the share of `false_alarms`"
    )
    min_count: Annotated[
        int,
        Field(ge=10, description="values (or events, for missing ones) that a window needs to be judged"),
    ] = 50
    tolerance: Annotated[dict[str, Annotated[float, Field(ge=0)]], AfterValidator(_tolerable)] = Field(
        {},
        description="effect that is still no drift, by test: {psi: 0.2, missing: 0.05}; {missing: 1} switches it off",
    )
    persistence: Annotated[int, Field(ge=1, le=100, description="windows in a row before an alert opens")] = 1
    recovery: Annotated[
        int, Field(ge=1, le=100, description="clean windows in a row (p > .05) before it is resolved")
    ] = 2
    cooldown: Duration = Field(ms("1h"), description="least event time between two updates of an open alert")
    adwin_delta: Annotated[float, Field(gt=0, lt=1)] = 0.002
    page_hinkley_threshold: Annotated[float, Field(gt=0)] = 50.0
    page_hinkley_delta: Annotated[float, Field(ge=0)] = 0.05
    error_rise: ErrorRise = ErrorRise()
    e_sr_arl0: Annotated[float, Field(ge=100, description="least mean number of values between false alarms")] = 1e6
    severity: dict[Literal["drift", "limit", "quality", "silence"], Literal["info", "warning", "critical"]] = Field(
        {}, description="of alerts by kind, in place of that by harm: {drift: info, limit: critical}"
    )
    ignore: tuple[str, ...] = Field(
        (), description='measures that are described and published, and not judged: ["length(*)", zip]; limits hold'
    )
    limits: tuple[str, ...] = Field((), description="such as `latency_ms.p99 > 250`, or `error.mean > 0.2 critical`")

    def ignores(self, measure: str) -> bool:
        """Whether a measure is not judged: its name matches a pattern of `ignore`."""
        return any(fnmatchcase(measure, pattern) for pattern in self.ignore)


def overridden(detection: DetectionSettings, pattern: str, given: Mapping[str, Any]) -> DetectionSettings:
    """Detection settings with the keys that `models` gives for a pattern; `tolerance` is merged.

    Raises:
        ValueError: a key or value is wrong; it names all of them.
    """
    base = detection.model_dump(mode="json")
    raw = base | dict(given)
    if isinstance(given.get("tolerance"), dict):
        raw["tolerance"] = base["tolerance"] | given["tolerance"]
    try:
        return DetectionSettings.model_validate(raw)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in (f"models.{pattern}", *problem["loc"]))
            if problem["type"] == "extra_forbidden":
                known = suggest(str(problem["loc"][-1]), DetectionSettings.model_fields, "keys of detection")
                lines.append(f"{where}: unknown key; {known}")
            else:
                lines.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
        raise ValueError("; ".join(lines)) from None
