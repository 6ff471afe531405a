"""`/metrics` of the page: how it does, and where the rollouts stand."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.rollouts import rollouts_view
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.events.rollouts import GuardEvidence, RolloutDecision
from stream_monitor.telemetry.dashboard_metrics import TEXT_TYPE, DashboardTelemetry, RolloutFigures, Worth

MOST_ROLLOUTS = 100
"""Rollouts that have series, those that began last."""
NO_ROUTE = "none"
STREAM = "/api/v1/events"


class PageMetrics:
    """Counts requests, and answers scrapes."""

    def __init__(self, store: Store, reader: Reader) -> None:
        self.store, self.reader = store, reader
        self.telemetry = DashboardTelemetry(partial(_rollouts, store))
        self.routes: dict[Any, str] = {}
        """By endpoint: the path of its route."""

    def route(self) -> Route:
        """The route of scrapes."""
        return Route("/metrics", self._scrape)

    def _scrape(self, request: Request) -> Response:
        telemetry, progress = self.telemetry, self.reader.progress
        telemetry.store_bytes.set(self.store.used())
        telemetry.behind.set(progress.behind)
        telemetry.reading.set(progress.state in ("reading", "live"))
        telemetry.since.set(progress.since)
        return Response(telemetry.text(), media_type=TEXT_TYPE)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request that was answered; its route is known by now."""
        route = self.routes.get(scope.get("endpoint"), NO_ROUTE)
        self.telemetry.requests.labels(route, str(status)).inc()
        if route != STREAM:
            self.telemetry.seconds.observe(seconds)


class Counted:
    """Counts the requests of an application."""

    def __init__(self, app: ASGIApp, metrics: PageMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it, whether the answer arrived or not."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        streams = self._metrics.telemetry.streams

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        is_stream = scope["path"] == STREAM
        if is_stream:
            streams.inc()
        try:
            await self._app(scope, receive, noted)
        finally:
            if is_stream:
                streams.dec()
            self._metrics.count(scope, status, time.perf_counter() - started)


def _rollouts(store: Store) -> Iterator[RolloutFigures]:
    with closing(Snapshot(store.path)) as snapshot, snapshot:
        latest = rollouts_view(snapshot)[:MOST_ROLLOUTS]
    for one in latest:
        decision = msgspec.convert({k: v for k, v in one.items() if k != "started"}, RolloutDecision)
        yield RolloutFigures(
            decision.model, decision.rollout, decision.state, decision.exposed, decision.weights,
            list(_worths(decision.evidence)),
        )  # fmt: skip


def _worths(evidence: Iterable[GuardEvidence]) -> Iterator[Worth]:
    for guard in evidence:
        harm = max(guard.harm.settled, guard.harm.early or 0.0)
        yield Worth(guard.guard, guard.segment, "harm", _log10(harm))
        yield Worth(guard.guard, guard.segment, "pass", _log10(guard.passes.get("1", 1.0)))


def _log10(worth: float) -> float:
    return math.log10(worth) if worth > 0 else -math.inf
