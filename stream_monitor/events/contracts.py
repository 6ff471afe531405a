"""The JSON contracts of every record that a user of stream_monitor reads or writes.

`stream-monitor schema NAME` prints these as JSON Schema (`schemas`). Times are epoch milliseconds, event time.
In events that come in, NaN, Infinity and numbers that no double holds are read as null.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=256, description="prediction id; also the Kafka key")]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Millis = Annotated[int, Meta(ge=-(2**62), le=2**62, description="epoch milliseconds, event time")]
Scalar = str | bool | int | float | None


class Prediction(Struct, gc=False, kw_only=True, omit_defaults=True):
    """One inference of one model version. Its key is (id, model, version)."""

    id: Id
    ts: Millis
    model: Name = "default"
    version: Name = "0"
    features: dict[str, Any] = {}
    prediction: Annotated[Any, Meta(description="string or boolean: a class; number: a value; null: no answer")] = None
    probabilities: Annotated[
        float | list[float | None] | dict[str, float | None] | None,
        Meta(description="of the positive class, of all classes in order, or by class name"),
    ] = None
    latency_ms: float | None = None
    decided_by: Literal["model", "human"] | None = None
    human_prediction: Scalar = None
    tags: dict[str, Scalar] = {}


class Label(Struct, gc=False, kw_only=True, omit_defaults=True):
    """The truth about a prediction; may come before it, twice, corrected, or never."""

    id: Id
    label: str | bool | float
    ts: Annotated[Millis | None, Meta(description="default: the record's Kafka timestamp")] = None
    labeler: Name | None = None
    model: Annotated[Name | None, Meta(description="joins only this model's predictions")] = None


class Feedback(Struct, gc=False, kw_only=True, omit_defaults=True):
    """What a user did with an answer; each signal of a prediction counts once."""

    id: Id
    ts: Millis
    signals: Annotated[
        dict[str, float | None], Meta(min_length=1, max_length=16, description="null: as if it were not there")
    ]
    model: Name | None = None


class Observation(Struct, gc=False, kw_only=True, omit_defaults=True):
    """Software and hardware metrics of whatever serves the model; never joined."""

    ts: Millis
    source: Name
    measures: Annotated[dict[str, float | None], Meta(min_length=1)]
    model: Name = "default"
    version: Name = "0"


class Finding(Struct, kw_only=True, omit_defaults=True):
    """What one detector says about one measure."""

    detector: str
    score: Annotated[float, Meta(description="the statistic, in the detector's own unit")]
    threshold: float
    p_value: float | None = None
    direction: Literal["up", "down", "changed"] = "changed"
    change_ts: Annotated[int | None, Meta(description="estimated time of the change")] = None
    evidence: Annotated[dict[str, Any], Meta(description="baseline against now: counts, moments, bins")] = {}


class Moved(Struct, kw_only=True, omit_defaults=True):
    """A category, or a bin (above, to], whose share of the values moved."""

    name: Annotated[
        str | None,
        Meta(description="the category; (rest): those the baseline does not name; the whole numbers in a bin"),
    ] = None
    above: Annotated[float | None, Meta(description="lower end of the bin, exclusive; absent: no end")] = None
    to: Annotated[float | None, Meta(description="upper end of the bin, inclusive; absent: no end")] = None
    baseline: Annotated[float, Meta(description="share of the baseline's values")]
    now: Annotated[float, Meta(description="share of the window's values")]
    part: Annotated[float, Meta(description="of all movement: |now - baseline| over the sum of it")] = 0.0


class SegmentPart(Struct, omit_defaults=True):
    """How much of a drift comes from one segment; the formula is in docs/detection/attribution.md."""

    segment: str
    part: Annotated[float, Meta(description="of the distance of all events; segments of the same fields add up to 1")]
    own: Annotated[float, Meta(description="of that, because the segment's own values changed")]
    mix: Annotated[float, Meta(description="of that, because there is more or less of the segment")]
    before: Annotated[float, Meta(description="the segment's share of the baseline's values")]
    now: Annotated[float, Meta(description="the segment's share of the window's values")]
    error: Annotated[float, Meta(description="standard error of `part`")] = 0.0
    own_error: Annotated[float, Meta(description="standard error of `own`")] = 0.0
    named: Annotated[bool, Meta(description="whether the drift surely comes from this segment")] = False


class ErrorChange(Struct, kw_only=True, omit_defaults=True):
    """Whether the model's error moved with a drift of its inputs."""

    state: Annotated[
        Literal["unknown", "undecided", "unchanged", "worse", "better"],
        Meta(
            description="unknown: no labels yet; a record with status `outcome` says more once there are. undecided: "
            "too few labels to exclude a rise above the tolerance"
        ),
    ]
    measure: Annotated[str, Meta(description="error, or absolute_error where answers are numbers")] = ""
    n: Annotated[int, Meta(description="labels of predictions since the change")] = 0
    since: Annotated[int | None, Meta(description="the time from which on predictions count")] = None
    baseline: Annotated[float | None, Meta(description="the mean error of labels of that age before")] = None
    now: float | None = None
    sigmas: Annotated[float | None, Meta(description="change in standard deviations of the baseline's error")] = None
    margin: Annotated[float | None, Meta(description="from which change on it is worse or better, same unit")] = None
    bound: Annotated[float | None, Meta(description="upper confidence bound of the rise, in the error's unit")] = None
    tolerance: Annotated[float | None, Meta(description="a rise up to this does not matter, in the error's unit")] = (
        None
    )
    label_delay: Annotated[int | None, Meta(description="half of the labels come within so many ms")] = None
    alarmed: Annotated[
        bool | None, Meta(description="true: worse because an alert on the error opened, not by these figures")
    ] = None


class Attribution(Struct, kw_only=True, omit_defaults=True):
    """Where a drift comes from, and, of inputs, whether it matters."""

    since: Annotated[
        int | None, Meta(description="of an alert that a sequential detector opened: start of what `now` is made of")
    ] = None
    distance: Annotated[float, Meta(description="half the sum of |now - baseline| over at most ten groups; 0 to 1")] = (
        0.0
    )
    moved: Annotated[list[Moved], Meta(description="the largest movements first, at most 5")] = []
    segments: Annotated[list[SegmentPart], Meta(description="the largest parts first, at most 5")] = []
    error: ErrorChange | None = None


class EvidenceWindow(Struct):
    """The event time [start, end) that the findings of a record are about."""

    start: int
    end: int
    size: Annotated[int, Meta(description="ms of the windows that found it; 0: a sequential detector, at a pane")]


class Alert(Struct, kw_only=True, omit_defaults=True):
    """Findings on one measure that survived all controls. (id, status, revision) is unique.

    The key of the record is the model, so all alerts of a model lie in one partition, in order.

    An alert that opened on a drift of inputs has records with status `outcome`, once labels of predictions since then
    are known: before or after it is resolved. Their revisions have numbers of their own; the highest holds.
    """

    id: str
    status: Literal["open", "update", "resolved", "outcome"]
    revision: int
    ts: Annotated[int, Meta(description="end of the pane or window that led to this record")]
    opened_ts: Annotated[int, Meta(description="start of its first pane or window, or end of the alert before")]
    model: str
    version: str
    segment: str
    measure: str
    group: str
    kind: Literal["drift", "limit", "quality", "silence"]
    severity: Literal["info", "warning", "critical"]
    reason: Annotated[str, Meta(description="for a person: what moved, since when, whether it matters, where from")]
    incident: Annotated[
        str, Meta(description="alerts of one cause share it: over versions, segments, kinds, and lengths of a measure")
    ] = ""
    window: Annotated[EvidenceWindow | None, Meta(description="that led to this record; absent in an outcome")] = None
    findings: list[Finding] = []
    attribution: Annotated[
        Attribution | None,
        Meta(
            description="of an alert that opens on a drift of inputs or outcomes, and of its outcome; of one of the "
            "kind `quality`, where there are segments"
        ),
    ] = None


class MeasureSummary(Struct, kw_only=True, omit_defaults=True):
    """A measure in one window, and how far it is from its baseline."""

    group: str
    n: int
    missing: int | None = None
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    p05: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p95: float | None = None
    p99: float | None = None
    p999: Annotated[float | None, Meta(description="p99.9")] = None
    coarse: Annotated[
        bool | None,
        Meta(
            description="true: p75, p95, p99 or p99.9 is interpolated in a wide bin, because the measure's edges have "
            "no tail (a reset makes new ones), or values came without one"
        ),
    ] = None
    sum: float | None = None
    top: Annotated[dict[str, int] | None, Meta(description="the most frequent categories")] = None
    shape: Annotated[
        list[int] | None,
        Meta(
            description="values in each display bin. Numbers: below the baseline's values, 14 bins of about as many of "
            "them each, and above. Categories: the 12 most frequent of the baseline, its others, and new ones. The "
            "bins stay until the measure's edges or categories change"
        ),
    ] = None
    tests: Annotated[dict[str, float] | None, Meta(description="distance from the baseline, by test")] = None
    p: Annotated[dict[str, float] | None, Meta(description="p-values below .05, by test")] = None
    times: Annotated[
        float | None, Meta(description="the largest distance, as a multiple of what its test tolerates")
    ] = None
    found: Annotated[
        bool | None, Meta(description="true: the tests of this window, all measures considered, found a drift here")
    ] = None
    overdispersion: Annotated[
        float | None,
        Meta(description="by how much the counts of windows vary more than independent values would, if more"),
    ] = None
    courses: Annotated[
        dict[str, float] | None,
        Meta(
            description="of sequential detectors: statistic over threshold at the window's end, or of an alarm in it; "
            "from 1 on it rings"
        ),
    ] = None
    baseline: Annotated[str | None, Meta(description="that judged it, where it is not the record's")] = None
    approximate: bool | None = None


class Metric(Struct, kw_only=True, omit_defaults=True):
    """One window of one model, version and segment.

    The last record of a key (model, version, segment, window, kind) is the truth. For one size of tumbling windows
    and the segment `all`: count + duplicates + late + after_idle + dead letters = prediction events.
    """

    model: str
    version: str
    segment: str
    window_start: int
    window_end: int
    kind: Annotated[
        Literal["traffic", "performance", "observation", "label", "feedback", "intake"],
        Meta(
            description="label and feedback: by the time at which outcomes became known; performance: by the time of "
            "their predictions; intake: of the model __all__, what of an input topic (`version`) was refused or joined "
            "nothing in a minute of broker time; published where something was"
        ),
    ]
    revision: int
    final: bool
    count: int
    part: int = 1
    parts: int = 1
    duplicates: int = 0
    late: int = 0
    after_idle: int = 0
    labelled: int = 0
    compared: Annotated[
        int | None, Meta(description="of a performance window: labels that could be compared with their answer")
    ] = None
    baseline: Annotated[str | None, Meta(description="that judged most of the measures")] = None
    accuracy: Annotated[float | None, Meta(description="share of right answers of those that are classes")] = None
    confusion: Annotated[
        list[tuple[str, str, int]] | None, Meta(description="(answer, label, number) of answers that are classes")
    ] = None
    measures: dict[str, MeasureSummary] = {}


class DeadLetter(Struct, kw_only=True, omit_defaults=True):
    """An event that could not be counted, and why; above `dead_letters.limit` the number of such events."""

    topic: str
    partition: int
    offset: int
    reason: Annotated[str, Meta(description="a word from a bounded set, fit for a metric's label")]
    error: Annotated[str, Meta(description="what exactly is wrong, and where")]
    count: Annotated[int, Meta(description="events that this record stands for, from offset to last_offset")] = 1
    last_offset: int | None = None
    length: int
    sha256: Annotated[str, Meta(description="of the raw event; with private fields HMAC-SHA256 with a key, or empty")]
    bytes: Annotated[
        str, Meta(description="the first 64 KB of the raw event, base64; with private fields without these, or empty")
    ]


class OpenAlert(Struct, kw_only=True):
    """An alert that is open."""

    id: str
    version: str
    segment: str
    measure: str
    kind: Literal["drift", "limit", "quality", "silence"]
    severity: Literal["info", "warning", "critical"]
    opened_ts: int
    reason: str


class Distance(Struct):
    """How far a measure was from its baseline in a window."""

    measure: str
    version: str
    segment: str
    times: Annotated[float, Meta(description="the largest distance, as a multiple of what its test tolerates")]
    found: Annotated[bool, Meta(description="whether the tests of the window found a drift")]


class Learning(Struct, kw_only=True):
    """A measure whose baseline is in the making."""

    measure: str
    n: Annotated[int, Meta(description="values that it has so far")]
    of: Annotated[int, Meta(description="values that it needs: `baseline.first`, fewer after `first_within`")]
    ready_in: Annotated[int | None, Meta(description="ms of event time at the window's pace; null: nothing came")]


class Health(Struct, kw_only=True, omit_defaults=True):
    """A model at the end of its last window; the last record of a model on the compacted topic is the truth.

    One with `app` says what concerns all models; its key is empty.
    """

    model: str
    app: bool = False
    window_start: int
    window_end: int
    final: Annotated[bool, Meta(description="false: the window is open, and all has been read")] = True
    count: Annotated[int, Meta(description="predictions in the window")] = 0
    versions: Annotated[list[str], Meta(description="that had predictions in the window, at most 20")] = []
    measures: Annotated[int, Meta(description="that are watched")] = 0
    open: Annotated[list[OpenAlert], Meta(description="the gravest first, at most 100")] = []
    open_total: int = 0
    predictions: Annotated[int, Meta(description="that may still get a label, or got one of late")] = 0
    labelled: Annotated[int, Meta(description="of these, with a label")] = 0
    error_measure: Annotated[str | None, Meta(description="error, or absolute_error where answers are numbers")] = None
    error: Annotated[float | None, Meta(description="its mean over the labelled ones")] = None
    error_baseline: Annotated[float | None, Meta(description="its mean in the baseline of all versions")] = None
    worst: Annotated[list[Distance], Meta(description="the measures farthest from their baselines, at most 5")] = []
    tolerance: Annotated[dict[str, float], Meta(description="the largest distance that is no drift, by test")] = {}
    false_alarms: Annotated[str, Meta(description="that the model may raise, as the settings say: 1 per week")] = ""
    windows: Annotated[list[str], Meta(description="the sizes of windows, with the slide of those that slide")] = []
    learning: Annotated[list[Learning], Meta(description="those that need most come first, at most 100")] = []
    learning_total: int = 0
    unseen_limits: Annotated[
        list[str], Meta(description="limits of the settings whose measure the model has never had, at most 20")
    ] = []
