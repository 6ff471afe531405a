"""Incidents: the alerts of one cause, over versions, segments and kinds, under one id.

A subject is a measure together with its lengths, missing values, categories and types; the errors and the label are one
subject, and so are the answer and null answers. The alerts of a (measure group, subject) of a model share an incident
while one of them is open, and for a while after the last one has ended. The first alert that opens names the incident.
"""

from __future__ import annotations

import hashlib

import msgspec

from stream_monitor.profiles.measures import (
    DISTANCES,
    ERRORS,
    LABEL,
    NULL_ANSWER,
    PREDICTION,
    Group,
    base_of,
    norm_base,
)

_ONE_SUBJECT = {NULL_ANSWER: PREDICTION} | dict.fromkeys((*ERRORS, *DISTANCES), LABEL)


class Incident(msgspec.Struct):
    """An incident that an alert of its subject may still join."""

    id: str
    open: int = 0
    """How many of its alerts are open."""
    until: int = 0
    """An alert that begins before this event time (epoch ms) joins, when no alert is open."""


class Incidents(msgspec.Struct):
    """The incidents of a model that alerts can join, by measure group and subject."""

    by_subject: dict[str, Incident] = {}

    def join(self, model: str, group: Group, measure: str, opened: int) -> str:
        """The id of the incident of an alert that opens at event time `opened` (epoch ms)."""
        subject = _key(group, measure)
        incident = self.by_subject.get(subject)
        if incident is None or (not incident.open and opened >= incident.until):
            self._drop_ended(group, opened)
            incident = self.by_subject[subject] = Incident(_id(model, subject, opened))
        incident.open += 1
        return incident.id

    def leave(self, incident_id: str, group: Group, measure: str, until: int) -> None:
        """An alert of this incident was resolved; others may join before event time `until` (epoch ms).

        An alert that opened before there were incidents has no id, and leaves none.
        """
        incident = self.by_subject.get(_key(group, measure))
        if incident is not None and incident.id == incident_id and incident.open:
            incident.open -= 1
            incident.until = max(incident.until, until)

    def _drop_ended(self, group: Group, now: int) -> None:
        """Forget the incidents of a measure group that no alert can join any more."""
        for subject, incident in list(self.by_subject.items()):
            if subject.startswith(f"{group}\x1f") and not incident.open and now >= incident.until:
                del self.by_subject[subject]


def subject_of_measure(measure: str) -> str:
    """The subject that a measure belongs to, such as `x` for `length(x)`."""
    return _ONE_SUBJECT.get(measure) or base_of(measure) or norm_base(measure) or measure


def _key(group: Group, measure: str) -> str:
    return f"{group}\x1f{subject_of_measure(measure)}"


def _id(model: str, subject: str, opened: int) -> str:
    return hashlib.sha256(f"{model}\x1f{subject}\x1f{opened}".encode()).hexdigest()[:24]
