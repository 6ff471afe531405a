"""`/metrics` of the page: what a scrape says of requests, of the store and of rollouts."""

from __future__ import annotations

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.store import Store
from tests.dashboard import stories
from tests.dashboard.api import TOKEN, ask, with_token
from tests.dashboard.conftest import serving


def scraped(site: str, headers: dict[str, str] | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """By name and labels, that of the role apart: the value of each series."""
    status, body, _ = ask(f"{site}/metrics", headers or {})
    assert status == 200
    samples = [s for family in text_string_to_metric_families(body.decode()) for s in family.samples]
    assert {sample.labels.pop("role") for sample in samples} == {"dashboard"}
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def one(series: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return series[f"stream_monitor_{name}", frozenset(labels.items())]


def test_requests_are_counted_by_route_and_never_by_address(store: Store) -> None:
    with serving(stories.settings(), store) as site:
        for path in ("api/v1/fleet", "api/v1/models/fraud", "api/v1/models/nobody", "no-such-page"):
            ask(f"{site}/{path}")
        series = scraped(site)
    assert one(series, "dashboard_requests_total", route="/api/v1/fleet", status="200") == 1
    assert one(series, "dashboard_requests_total", route="/api/v1/models/{model:path}", status="200") == 1
    assert one(series, "dashboard_requests_total", route="/api/v1/models/{model:path}", status="404") == 1
    assert one(series, "dashboard_requests_total", route="none", status="404") == 1
    assert one(series, "dashboard_request_seconds_count") == 4


def test_it_tells_how_the_reader_and_the_store_are(store: Store) -> None:
    reader = Reader(stories.settings(), store)
    reader.progress.behind = 17
    with serving(stories.settings(), store, reader=reader) as site:
        before = scraped(site)
        reader.progress.enter("live")
        after = scraped(site)
    assert (one(before, "dashboard_reading"), one(after, "dashboard_reading")) == (0, 1)
    assert one(after, "dashboard_behind") == 17 and one(after, "dashboard_store_bytes") == store.used()


def test_rollouts_have_a_state_weights_and_worths(site: str) -> None:
    series = scraped(site)
    goes_on = {"model": "fraud", "rollout": "fraud-43"}
    assert one(series, "rollout_state", **goes_on, state="running") == 1
    assert one(series, "rollout_state", model="fraud", rollout="fraud-42", state="rolled_back") == 1
    weights = [one(series, "rollout_weight", **goes_on, version=version) for version in ("41", "43")]
    assert sum(weights) == pytest.approx(1)
    _, told, _ = ask(f"{site}/api/v1/rollouts/fraud/fraud-42")
    last, harmed = told["decisions"][0], {"model": "fraud", "rollout": "fraud-42"}
    assert one(series, "rollout_exposed_total", **harmed) == last["exposed"] > 0
    for evidence in last["evidence"]:
        given = harmed | {"guard": evidence["guard"], "segment": evidence["segment"]}
        assert one(series, "rollout_worth", **given, bet="pass") == pytest.approx(math.log10(evidence["passes"]["1"]))
    needed = math.log10(last["evidence"][0]["harm"]["needs"])
    assert one(series, "rollout_worth", **harmed, guard="error", segment="all", bet="harm") >= needed


def test_a_scrape_needs_the_token(store: Store) -> None:
    with serving(with_token(), store) as site:
        assert ask(f"{site}/metrics")[0] == 401
        assert scraped(site, {"Authorization": f"Bearer {TOKEN}"})
