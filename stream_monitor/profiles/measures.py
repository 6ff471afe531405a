"""What is measured: the names of the built-in measures, their groups, and the rule that names a feature's measures."""

from __future__ import annotations

import functools
import logging
from typing import Final, Literal

import xxhash

log = logging.getLogger(__name__)

Group = Literal["input", "output", "outcome", "software", "human"]
TimelineName = Literal["input", "label", "feedback", "observation"]
"""A lane is a clock: measures of a lane close their panes on the same watermark."""

PREDICTION: Final = "prediction"
SCORE: Final = "score"
LATENCY: Final = "latency_ms"
NULL_ANSWER: Final = "null_answer"
OVERRIDDEN: Final = "human_override"
VOLUME: Final = "volume"
LABEL: Final = "label"
"""In its lane; one that is true or false is there as a number too, for its mean."""
JOINT: Final = "joint(features)"
"""All features together; no feature has this name, for one that ends like it is `feature.…`."""

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
"""Characters of a category, name or segment value that are kept; a longer one keeps its start and its hash."""


def built_in() -> frozenset[str]:
    """Measures of predictions that need no feature."""
    return frozenset(_BUILT_IN)


def group_of(timeline: TimelineName, measure: str) -> Group:
    """The group a measure belongs to; features are `input`, outcomes of labels `outcome`, signals `human`."""
    return _BUILT_IN.get(measure, "input") if timeline == "input" else _BY_TIMELINE[timeline]


def feature_measure(feature: str) -> str:
    """The measure of a feature: its own name, unless that would be mistaken for a measure of ours."""
    name = bounded(feature)
    if name in _BUILT_IN or name.endswith(")") or name.startswith("feature."):
        return "feature." + name
    return name


def length_of(measure: str) -> str:
    """The measure of the lengths of a text or an array."""
    return f"length({measure})"


def kind_of(measure: str) -> str:
    """The measure that counts values which are neither numbers nor categories (arrays, objects)."""
    return f"kind({measure})"


UNMEASURED = (
    "only that it is one, and an array's length, is measured, nothing inside it. Send what matters of it as the "
    "prediction (the first item, its class or its score), and more as features"
)
"""Of a prediction that is an array, as a ranking is, or an object."""


@functools.cache
def tell_unmeasured(kind: str) -> None:
    """Warn, once in a process, that predictions are arrays or objects."""
    log.warning("a prediction is an %s: %s; `stream-monitor check` names the models", kind, UNMEASURED)


def norm_of(measure: str) -> str:
    """The measure of the lengths, in the sense of geometry, of an embedding; it stands for the embedding as a whole."""
    return f"norm({measure})"


def projection_of(number: int, measure: str) -> str:
    """The measure of an embedding's coordinates along one of its fixed directions."""
    return f"projection_{number}({measure})"


def distance_of(measure: str) -> str:
    """The measure of an embedding's distance to the centroid of its baseline."""
    return f"distance({measure})"


def is_distance(measure: str) -> bool:
    """Whether a measure of the input lane is a distance to a centroid."""
    return measure.startswith("distance(") and measure.endswith(")")


def base_of(measure: str) -> str | None:
    """The feature behind a `length(…)`, `kind(…)`, `distance(…)` or `projection_…(…)` measure, None for all others.

    Such measures are not missing by themselves.
    """
    kind, opened, rest = measure.partition("(")
    if opened and rest.endswith(")") and (kind in ("length", "kind", "distance") or kind.startswith("projection_")):
        return rest[:-1]
    return None


def bounded(text: str) -> str:
    """The text itself up to `MAX_TEXT` characters, else its start and a hash of the whole."""
    if len(text) <= MAX_TEXT:
        return text
    return text[: MAX_TEXT - 17] + "…" + xxhash.xxh3_64_hexdigest(text.encode())


LARGEST = 1e100
"""No number of an embedding is as large; with one that is it counts as something else."""
