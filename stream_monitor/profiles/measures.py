"""The names of the built-in measures, their measure groups, and the rules that name a feature's measures."""

from __future__ import annotations

import functools
import logging
import re
from typing import Final, Literal

import xxhash

log = logging.getLogger(__name__)

Group = Literal["input", "output", "outcome", "software", "human"]
TimelineName = Literal["input", "label", "feedback", "observation"]
"""The measures of a timeline share a watermark: their panes close together."""

PREDICTION: Final = "prediction"
SCORE: Final = "score"
LATENCY: Final = "latency_ms"
NULL_ANSWER: Final = "null_answer"
OVERRIDDEN: Final = "human_override"
VOLUME: Final = "volume"
ERRORS: Final = ("error", "absolute_error", "squared_error")
"""The measures of how wrong an answer is; more is worse."""
DISTANCES: Final = ("bias", "relative_error")
"""What else is said of a number and its label: the signed difference, and the distance as a part of the label. They
show no harm by themselves: a relative error rises, too, when labels become small."""
LABEL: Final = "label"
"""The label, on timeline `label`. A label that is true or false is a number, too, for its mean."""
INCOMPARABLE: Final = "incomparable"
"""On timeline `label`: 1 for each label that no answer could be compared with, such as "spam" and 1, or .7 and true."""
JOINT: Final = "joint(features)"
"""All features together. No feature has this name: `feature_measure` renames a name that ends with a parenthesis."""

_BUILT_IN: dict[str, Group] = {
    PREDICTION: "output",
    "length(prediction)": "output",
    "kind(prediction)": "output",
    SCORE: "output",
    NULL_ANSWER: "output",
    LATENCY: "software",
    OVERRIDDEN: "human",
    VOLUME: "input",
}
_BY_TIMELINE: dict[TimelineName, Group] = {
    "input": "input",
    "label": "outcome",
    "feedback": "human",
    "observation": "software",
}

MAX_TEXT = 128
"""Most characters of a category, name or segment value; of a longer one its start and a hash are kept."""


def built_in() -> frozenset[str]:
    """The measures of predictions that need no feature."""
    return frozenset(_BUILT_IN)


def group_of(timeline: TimelineName, measure: str) -> Group:
    """The measure group of a measure; features are `input`, measures of labels `outcome`, signals `human`."""
    return _BUILT_IN.get(measure, "input") if timeline == "input" else _BY_TIMELINE[timeline]


def feature_measure(feature: str) -> str:
    """The measure of a feature: its own name, with a prefix if that could be the name of a built-in measure."""
    name = bounded(feature)
    if name in _BUILT_IN or name.endswith(")") or name.startswith("feature."):
        return "feature." + name
    return name


def measure_named(name: str) -> str:
    """The measure of predictions that a person means by a name: a measure's own name, or that of a feature."""
    kind, opened, _ = name.partition("(")
    derived = opened and name.endswith(")") and (kind in ("length", "kind", "norm", "distance") or is_projection(kind))
    renamed = name.startswith("feature.") and feature_measure(name.removeprefix("feature.")) == name
    return name if name in _BUILT_IN or name == JOINT or derived or renamed else feature_measure(name)


def is_projection(kind: str) -> bool:
    """Whether a word before a parenthesis is that of a projection."""
    return re.fullmatch(r"projection_[0-9]+", kind) is not None


def length_of(measure: str) -> str:
    """The measure of the lengths of a text or an array."""
    return f"length({measure})"


def kind_of(measure: str) -> str:
    """The measure that counts the values that are neither numbers nor categories (arrays, objects)."""
    return f"kind({measure})"


UNMEASURED = (
    "only that it is one, and an array's length, is measured, nothing inside it. Send what matters of it as the "
    "prediction (the first item, its class or its score), and more as features"
)
"""The warning about a prediction that is an array, such as a ranking, or an object."""


@functools.cache
def tell_unmeasured(kind: str) -> None:
    """Warn, once in a process for each kind, that predictions are arrays or objects."""
    log.warning("a prediction is an %s: %s; `stream-monitor check` names the models", kind, UNMEASURED)


def norm_of(measure: str) -> str:
    """The measure of an embedding's Euclidean norm; it represents the embedding as a whole."""
    return f"norm({measure})"


def projection_of(number: int, measure: str) -> str:
    """The measure of an embedding's coordinates along one of its fixed directions."""
    return f"projection_{number}({measure})"


def distance_of(measure: str) -> str:
    """The measure of an embedding's distance to the centroid of its baseline."""
    return f"distance({measure})"


def is_distance(measure: str) -> bool:
    """Whether a measure of the input timeline is a distance to a centroid."""
    return measure.startswith("distance(") and measure.endswith(")")


def base_of(measure: str) -> str | None:
    """The feature of a `length(…)`, `kind(…)`, `distance(…)` or `projection_…(…)` measure, None for all others.

    Missing values are not counted for such a measure, but for its feature.
    """
    kind, opened, rest = measure.partition("(")
    if opened and rest.endswith(")") and (kind in ("length", "kind", "distance") or kind.startswith("projection_")):
        return rest[:-1]
    return None


def norm_base(measure: str) -> str | None:
    """The embedding of a `norm(…)` measure, None for all others."""
    return measure[len("norm(") : -1] if measure.startswith("norm(") and measure.endswith(")") else None


def bounded(text: str) -> str:
    """The text if it has at most `MAX_TEXT` characters, else its start and a hash of the whole text."""
    if len(text) <= MAX_TEXT:
        return text
    return text[: MAX_TEXT - 17] + "…" + xxhash.xxh3_64_hexdigest(text.encode())


LARGEST = 1e100
"""An array with a number of this size or more is not measured as an embedding, but counted by its kind."""
