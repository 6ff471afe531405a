"""The HTTP server of the page: its files, a JSON API under `api/v1`, and a stream of changes."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream_monitor.config.durations import ms
from stream_monitor.config.settings import Settings
from stream_monitor.dashboard.answers import Answers, answer_of
from stream_monitor.dashboard.facts import letters_view, store_view
from stream_monitor.dashboard.fleet import Fleet
from stream_monitor.dashboard.gates import Clock, gates, wall_clock
from stream_monitor.dashboard.guard import HEADERS, Guard
from stream_monitor.dashboard.incidents import alert_view, incidents_view
from stream_monitor.dashboard.lags import FRESH_S, Lags
from stream_monitor.dashboard.metrics import Counted, PageMetrics
from stream_monitor.dashboard.models import known_models, measure_view, model_view, performance_view
from stream_monitor.dashboard.reader import Reader
from stream_monitor.dashboard.reduce import reduction
from stream_monitor.dashboard.rollouts import rollout_view, rollouts_view
from stream_monitor.dashboard.store import Snapshot, Store
from stream_monitor.dashboard.windows import Choice, UnknownName, choose
from stream_monitor.errors import StreamMonitorError
from stream_monitor.events.remarks import Acknowledgement, Annotation, Mute, read_remark
from stream_monitor.kafka.writer import write_keyed

STATIC = Path(__file__).with_name("static")
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
STREAMS = 200
"""Streams of changes at once; a page that gets none asks every few seconds."""
BODY = 16_384
"""Bytes that a request may send."""
WRONG = '<p class="notice critical" role="alert">That is not the token.</p>'
COMMENT_S = 15.0

View = Callable[[Snapshot, Mapping[str, str]], Any]


class BadQuery(Exception):
    """A parameter of a request is wrong; the text says which, and what it may be."""


def make_app(settings: Settings, store: Store, reader: Reader, clock: Clock = wall_clock) -> Starlette:
    """The application; the clock tells how long a rollout has been silent."""
    page, metrics = Page(settings, store, reader), PageMetrics(store, reader)
    get = {
        "fleet": page.fleet,
        "models": page.models,
        "models/{model:path}/performance": page.performance,
        "models/{model:path}/reduce": page.reduce,
        "models/{model:path}": page.model,
        "measures/{model:path}": page.measure,
        "incidents": page.incidents,
        "alerts/{id}": page.alert,
        "dead-letters": page.letters,
        "health": page.health,
        "rollouts": page.rollouts,
        "rollouts/{model:path}/{rollout}": page.rollout,
    }
    routes = [Route(f"/api/v1/{path}", page.json(view)) for path, view in get.items()]
    routes += [
        Route("/api/v1/events", page.events),
        Route("/api/v1/remarks", page.write, methods=["POST"]),
        *gates(store.path, clock),
        metrics.route(),
        Route("/login", page.login, methods=["GET", "POST"]),
        Route("/healthz", page.healthz),
        Route("/", page.index),
        Route("/static/{name}", page.static),
    ]
    metrics.routes = {route.endpoint: route.path for route in routes}
    app = Starlette(routes=routes, exception_handlers={404: _missing, 405: _missing})
    app.add_middleware(Protected, guard=page.guard)
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5)
    app.add_middleware(Counted, metrics=metrics)
    return app


class Protected:
    """Refuses who may not read, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await self._handler(scope)(scope, receive, with_headers)

    def _handler(self, scope: Scope) -> ASGIApp:
        request = Request(scope)
        path = scope["path"]
        if not self._guard.right_host(request.headers.get("host", "")):
            return _error(421, "this page is served under the name localhost only; `http.token` lifts that")
        free = path in ("/login", "/healthz") or path.startswith("/static/")
        if free or self._guard.admits(request.headers):
            return self._app
        return RedirectResponse("login") if path == "/" else _error(401, "a token is needed (http.token)")


def _error(status: int, text: str) -> Response:
    return Response(orjson.dumps({"error": text}), status, media_type="application/json")


async def _missing(request: Request, error: Exception) -> Response:
    return _error(getattr(error, "status_code", 404), f"nothing is served at {request.url.path[:200]}")


class Page:
    """The handlers."""

    def __init__(self, settings: Settings, store: Store, reader: Reader) -> None:
        self.settings, self.store, self.reader = settings, store, reader
        self.guard = Guard(settings)
        self._fleet = Fleet(store.models)
        self._lags = Lags(settings)
        self._answers = Answers()
        self._streams = 0
        self._stamp = uuid.uuid4().hex[:8]

    # --- views ---

    def json(self, view: View) -> Callable[[Request], Response]:
        """A handler that answers with a view as JSON, and with an ETag of the store's state and of the answer.

        The same state of the store gives the same answer, and another one gives the same more often than not: then a
        page need not be drawn again.
        """

        def handle(request: Request) -> Response:
            writes = self.guard.may_write(request.headers)
            state = self._state(view, request)
            known = request.headers.get("if-none-match", "").removeprefix('W/"').removesuffix('"')
            if known.rpartition("-")[0] == state:
                return Response(status_code=304, headers={"ETag": f'W/"{known}"'})
            question = f"{request.url.path}?{request.url.query}#{writes}"
            with self._answers.making(question):
                answer = self._answers.get(question, state)
                if answer is None:
                    try:
                        answer = answer_of(state, self._body(view, self._values(request, writes)))
                    except UnknownName as error:
                        return _error(404, str(error))
                    except BadQuery as error:
                        return _error(400, str(error))
                    self._answers.put(question, answer)
            headers = {"ETag": f'W/"{state}-{answer.mark}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
            if known.startswith(self._stamp) and known.rpartition("-")[2] == answer.mark:
                return Response(status_code=304, headers=headers)
            if answer.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
                headers["Content-Encoding"] = "gzip"
                return Response(answer.packed, media_type="application/json", headers=headers)
            return Response(answer.body, media_type="application/json", headers=headers)

        return handle

    @staticmethod
    def _values(request: Request, writes: bool) -> dict[str, str]:
        """The parameters of a request; `writes` is not empty for who may write."""
        return {**request.query_params, **request.path_params, "writes": "yes" if writes else ""}

    def _state(self, view: View, request: Request) -> str:
        """What an answer depends on: of a model's view the latest record of the model, of the others any record."""
        model = request.path_params.get("model")
        if model is not None:
            return f"{self._stamp}-{self.store.models.get(model, 0)}-{model in self.store.models}"
        asked = int(time.time() / FRESH_S) if view == self.health else 0  # lags change, the store need not
        progress = self.reader.progress
        return f"{self._stamp}-{self.store.revision}-{progress.state}-{progress.behind}-{asked}"

    def _body(self, view: View, values: Mapping[str, str]) -> bytes:
        """The text of an answer, from one state of the store."""
        store = Snapshot(self.store.path)
        try:
            with store:
                return orjson.dumps(view(store, values))
        finally:
            store.close()

    def fleet(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """All models."""
        return self._fleet.view(store) | {"app_name": self.settings.app, "reading": self._reading()}

    def models(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """The names of all models."""
        return known_models(store)

    def model(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """Every measure of a model."""
        return model_view(store, self._choice(store, values))

    def measure(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """One measure; its name is a parameter, because it may hold any character."""
        if "measure" not in values:
            raise BadQuery("the parameter `measure` is missing")
        return measure_view(store, self._choice(store, values), values["measure"])

    def performance(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """Accuracy, errors and labels."""
        return performance_view(store, self._choice(store, values, performance=True))

    def reduce(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """What could be left out."""
        choice = self._choice(store, values)
        view = model_view(store, choice)
        kept = ("model", "version", "segment", "size", "since", "until", "versions", "segments", "health", "times")
        return {name: view[name] for name in kept} | reduction(view)

    def incidents(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """Incidents."""
        state = values.get("state", "all")
        if state not in ("all", "open", "ended"):
            raise BadQuery("`state` is all, open or ended")
        view = incidents_view(store, state, values.get("severity") or None, values.get("model") or None)
        return view | {"may_write": bool(values["writes"])}

    def alert(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """One alert."""
        return alert_view(store, values["id"]) | {"may_write": bool(values["writes"])}

    def letters(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """Dead letters."""
        return letters_view(store, bool(values["writes"]))

    def health(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """Of the page itself."""
        told = store_view(store, self.reader.progress, self.settings.dashboard.disk, self.store.strange)
        return told | self._lags.view()

    def rollouts(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """All rollouts."""
        return {"rollouts": rollouts_view(store, values.get("model") or None)}

    def rollout(self, store: Snapshot, values: Mapping[str, str]) -> Any:
        """One rollout."""
        return rollout_view(store, values["model"], values["rollout"])

    @staticmethod
    def _choice(store: Snapshot, values: Mapping[str, str], performance: bool = False) -> Choice:
        span, until = values.get("range", ""), values.get("until", "")
        if until and not (until.lstrip("-").isdecimal() and len(until) < 17):
            raise BadQuery("`until` is a time in epoch ms")
        try:
            length = None if not span else 0 if span == "all" else ms(span)
        except ValueError as error:
            raise BadQuery(f"`range` is all, or a duration such as 6h or 7d: {error}") from None
        version, segment = values.get("version") or None, values.get("segment") or None
        end = int(until) if until else None
        return choose(store, values["model"], version, segment, length, end, performance)

    def _reading(self) -> dict[str, Any]:
        progress = self.reader.progress
        reading: dict[str, Any] = msgspec.to_builtins(progress)
        return reading

    # --- the page's files ---

    async def index(self, request: Request) -> Response:
        """The page."""
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        path = STATIC / Path(request.path_params["name"]).name
        if path.suffix not in KINDS or not path.is_file():
            return _error(404, "no such file")
        return FileResponse(path, media_type=KINDS[path.suffix], headers={"Cache-Control": "no-cache"})

    async def healthz(self, request: Request) -> Response:
        """Whether the server answers."""
        return Response("ok\n", media_type="text/plain")

    async def login(self, request: Request) -> Response:
        """A form for the token, and the cookie after it."""
        if request.method == "GET":
            form = (STATIC / "login.html").read_text(encoding="utf-8")
            said = WRONG if "wrong" in request.query_params else ""
            return HTMLResponse(form.replace("<!-- said -->", said), headers={"Cache-Control": "no-store"})
        body = await _body(request)
        if body is None or not self.guard.is_token(_field(body, "token")):
            await asyncio.sleep(1.0)  # a guesser gets one try a second and connection
            return RedirectResponse("login?wrong", 303)
        return RedirectResponse(".", 303, headers={"Set-Cookie": self.guard.cookie(request.url.scheme == "https")})

    # --- changes ---

    async def events(self, request: Request) -> Response:
        """A stream of server-sent events: at most one a second, when the store or the reader's state has changed."""
        if self._streams >= STREAMS:
            return _error(503, f"{STREAMS} pages are open already; ask again every few seconds")
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        return StreamingResponse(self._changes(request), media_type="text/event-stream", headers=headers)

    async def _changes(self, request: Request) -> AsyncIterator[bytes]:
        self._streams += 1
        told, silent_since = "", time.monotonic()
        try:
            while not await request.is_disconnected():
                progress = self.reader.progress
                state = json.dumps([self.store.revision, progress.state, progress.reason])
                if state != told:
                    told, silent_since = state, time.monotonic()
                    data = orjson.dumps({"revision": self.store.revision, "reading": self._reading()})
                    yield b"data: " + data + b"\n\n"
                elif time.monotonic() - silent_since > COMMENT_S:
                    silent_since = time.monotonic()
                    yield b": still here\n\n"
                await asyncio.sleep(1.0)
        finally:
            self._streams -= 1

    # --- remarks ---

    async def write(self, request: Request) -> Response:
        """Write a remark to its topic; it comes back to the page by the reader."""
        if not self.guard.may_write(request.headers):
            return _error(403, "remarks are written with a token, or on the page's own machine")
        if not _same_origin(request):
            return _error(403, "remarks are written from the page itself")
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _error(415, "a remark is JSON")
        if not self.guard.count_write():
            return _error(429, "ten remarks a minute are the most")
        body = await _body(request)
        if body is None:
            return _error(413, f"a remark has at most {BODY:,} bytes")
        return await run_in_threadpool(self._write, body)

    def _write(self, body: bytes) -> Response:
        try:
            given = msgspec.json.decode(body, type=dict[str, Any])
            given = {"by": "page", "id": uuid.uuid4().hex[:12]} | given | {"ts": int(time.time() * 1000)}
            remark = read_remark(orjson.dumps(given))
        except (msgspec.MsgspecError, UnicodeDecodeError, TypeError) as error:
            return _error(400, f"no remark: {error}")
        assert isinstance(remark, Acknowledgement | Mute | Annotation)
        value = None if given.get("withdraw") is True else msgspec.json.encode(remark)
        try:
            write_keyed(self.settings, "remarks", remark.key().encode(), value)
        except StreamMonitorError as error:
            return _error(503, str(error))
        return Response(orjson.dumps({"key": remark.key()}), media_type="application/json")


async def _body(request: Request) -> bytes | None:
    """What a request sends; None where it is too much, of which no more is read."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY:
            return None
    return body


def _field(body: bytes, name: str) -> str:
    """A field of a form."""
    from urllib.parse import parse_qs

    values = parse_qs(body.decode("utf-8", "replace")).get(name, [""])
    return values[0]


def _same_origin(request: Request) -> bool:
    """Whether a browser sent the request from the page itself; a program sends neither of these headers.

    What the browser says of the site holds before a comparison of names, for a proxy may give the page another name.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    return origin is None or origin.partition("://")[2] == request.headers.get("host")
