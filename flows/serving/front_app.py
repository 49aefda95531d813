"""The HTTP application of the front: who may ask, health, metrics, and what is forwarded to workers."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from http import HTTPStatus

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flows.local.guard import App, Guard, Message, Receive, Scope, Send, values
from flows.serving.forwarding import Forwarder, RefusedError, refusal
from flows.serving.router import Router
from tasks.serving.limits import Limits

OPEN = frozenset({"/v2/health/live", "/v2/health/ready"})  # without a token: a balancer asks them
MODEL = "/v2/models/{model}"
FORWARDED = {  # path: methods
    "/predict": ["POST"],
    "/openapi.json": ["GET"],
    **{f"{MODEL}{version}": ["GET"] for version in ("", "/versions/{version}")},
    **{f"{MODEL}{version}/ready": ["GET"] for version in ("", "/versions/{version}")},
    **{f"{MODEL}{version}/infer": ["POST"] for version in ("", "/versions/{version}")},
}
REQUESTS = Counter("rootstock_serve_requests", "answered requests", ["path", "status"])
DURATION = Histogram("rootstock_serve_seconds", "time to answer a prediction")
WAITING = Gauge("rootstock_serve_waiting", "requests in line for a worker")
IN_FLIGHT = Gauge("rootstock_serve_in_flight", "requests that workers have")
READY = Gauge("rootstock_serve_ready", "1 if a version is live and a worker answers")
GENERATION = Gauge("rootstock_serve_generation", "changes of the version since the server started")


def front_app(router: Router, limits: Limits, token: str | None, hosts: Iterable[str]) -> App:
    """Returns the application; with a `token`, all but health needs it."""
    forward = Forwarder(router, limits)
    pages = Pages(router)
    local = {
        "/": pages.about,
        "/v2": pages.server,
        "/metrics": pages.metrics,
        "/v2/health/live": pages.live,
        "/v2/health/ready": pages.ready,
    }
    routes = [Route(path, page, methods=["GET"]) for path, page in local.items()]
    routes += [Route(path, forward.__call__, methods=methods) for path, methods in FORWARDED.items()]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, Exception: _failure})
    app.router.redirect_slashes = False
    return Counted(Framing(Guard(Token(app, token) if token else app, hosts)))


class Pages:
    """What the front answers itself."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def about(self, _request: Request) -> Response:
        """Tells which version is live, or why none is."""
        route = self._router.route
        live = {"model": route.model, "version": route.number, "digest": route.digest} if route.number else {}
        return JSONResponse({**live, "ready": self._router.is_ready, **({"why": route.why} if route.why else {})})

    async def server(self, _request: Request) -> Response:
        """Returns the server's metadata by the Open Inference Protocol."""
        return JSONResponse({"name": "rootstock", "version": "2", "extensions": ["binary_tensor_data"]})

    async def live(self, _request: Request) -> Response:
        """Tells that the front answers."""
        return JSONResponse({"live": True})

    async def ready(self, _request: Request) -> Response:
        """Tells whether a prediction would be answered now."""
        is_ready = self._router.is_ready
        return JSONResponse({"ready": is_ready}, HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self, _request: Request) -> Response:
        """Returns the metrics for Prometheus."""
        WAITING.set(self._router.waiting)
        IN_FLIGHT.set(self._router.in_flight)
        READY.set(self._router.is_ready)
        GENERATION.set(self._router.route.generation)
        return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


async def _http_error(_request: Request, error: Exception) -> Response:
    """Answers an unknown path or method."""
    status = HTTPStatus(getattr(error, "status_code", HTTPStatus.NOT_FOUND))
    return JSONResponse({"error": status.phrase.lower()}, status, getattr(error, "headers", None))


async def _failure(_request: Request, _error: Exception) -> Response:
    """Answers a request that a bug has ended; Starlette raises the error again, and uvicorn logs it."""
    return JSONResponse({"error": "the server failed; its log tells why"}, HTTPStatus.INTERNAL_SERVER_ERROR)


class Framing:
    """Refuses requests whose end proxies may see elsewhere (request smuggling), and compressed bodies."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if values(scope, b"transfer-encoding") and values(scope, b"content-length"):
            close = {"connection": "close"}
            reason = "both Content-Length and Transfer-Encoding"
            await refusal(RefusedError(HTTPStatus.BAD_REQUEST, reason, close))(scope, receive, send)
        elif set(values(scope, b"content-encoding")) - {"identity"}:
            reason = "compressed bodies are not read"
            await refusal(RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, reason))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Token:
    """Refuses requests without the bearer token."""

    def __init__(self, app: App, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        sent = [value.encode("latin-1") for value in values(scope, b"authorization")]
        if scope["path"] in OPEN or (len(sent) == 1 and hmac.compare_digest(sent[0], self._expected)):
            await self._app(scope, receive, send)
            return
        error = RefusedError(
            HTTPStatus.UNAUTHORIZED, "send the token: Authorization: Bearer ...", {"www-authenticate": "Bearer"}
        )
        await refusal(error)(scope, receive, send)


class Counted:
    """Counts answers by path and status, and measures predictions."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        began = time.monotonic()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = _template(scope["path"])
                REQUESTS.labels(path, message["status"]).inc()
                if path in {"/predict", "infer"}:
                    DURATION.observe(time.monotonic() - began)
            await send(message)

        await self._app(scope, receive, counting)


def _template(path: str) -> str:
    """Returns a path's name among few, since each is kept for ever."""
    if path.startswith("/v2/models/"):
        return "infer" if path.endswith("/infer") else "model"
    return path if path in {"/", "/v2", "/metrics", "/predict", "/openapi.json", *OPEN} else "other"
