"""HTTP answers for programs that shift traffic: a verdict to poll, gates that are open or closed. Nothing changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import get_args

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream_monitor.dashboard.rollouts import Gate, is_open, verdict_view
from stream_monitor.dashboard.store import Snapshot

Clock = Callable[[], int]
"""Tells the time, in epoch ms."""


def wall_clock() -> int:
    """The time of this machine, in epoch ms."""
    return int(time.time() * 1000)


def gates(path: Path, clock: Clock) -> list[Route]:
    """The routes, which read the store in this file; the clock tells how long a rollout has been silent."""
    return [
        Route("/rollouts/{model:path}/{rollout}/verdict", partial(_verdict, path, clock)),
        Route("/rollouts/{model:path}/{rollout}/gate/{gate}", partial(_gate, path, clock), methods=["GET", "POST"]),
    ]


def _verdict(path: Path, clock: Clock, request: Request) -> Response:
    """The verdict, always with 200: the web provider of Argo Rollouts reads `{$.verdict}`."""
    of = request.path_params
    with closing(Snapshot(path)) as store, store:
        answer = verdict_view(store, of["model"], of["rollout"], clock())
    return Response(orjson.dumps(answer), media_type="application/json")


def _gate(path: Path, clock: Clock, request: Request) -> Response:
    """200 where a gate is open, 403 where it is closed, as the webhooks of Flagger expect; 404 for an unknown gate."""
    of, known = request.path_params, get_args(Gate)
    if of["gate"] not in known:
        return Response(orjson.dumps({"error": f"gates are {', '.join(known)}"}), 404, media_type="application/json")
    with closing(Snapshot(path)) as store, store:
        now = clock()
        passes = is_open(store, of["model"], of["rollout"], of["gate"], now)
        answer = verdict_view(store, of["model"], of["rollout"], now) | {"gate": of["gate"], "open": passes}
    return Response(orjson.dumps(answer), 200 if passes else 403, media_type="application/json")
