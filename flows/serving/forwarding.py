"""Forwards a request to a worker: its body within limits, a time limit, and another try if the worker dies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

import httpx
from prometheus_client import Counter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from flows.serving.headers import SECONDS, SUSPECT
from flows.serving.router import FullError, NoVersionError, Router, WorkerLink
from tasks.serving.limits import Limits

PASSED_ON = ("content-type", "inference-header-content-length")  # headers of requests
PASSED_BACK = ("content-type", "inference-header-content-length", "x-rootstock-version")
DIED = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError, httpx.CloseError)
MAX_TRIES = 3  # the second and third by a worker that answers nothing else; then, the killing picture is quarantined
CHUNKED = 64 * 1024  # bytes that are reserved for a body of unknown length at a time
BODIES = 8  # largest bodies that memory has room for
RETRIES = Counter("rootstock_serve_retries", "requests that another worker got, since the first one died")


class RefusedError(Exception):
    """A request that gets no worker, with the status and the reason in words."""

    def __init__(self, status: HTTPStatus, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers


class Budget:
    """The memory for bodies that are being received or answered."""

    def __init__(self, limits: Limits) -> None:
        self._most, self._free = limits.max_bytes, BODIES * limits.max_bytes

    @contextmanager
    def body(self) -> Iterator[ReservedBody]:
        """Yields an empty body, whose bytes are given back at the end."""
        body = ReservedBody(self)
        try:
            yield body
        finally:
            self._free += body.reserved

    def take(self, count: int) -> None:
        """Reserves bytes. Raises RefusedError if there are not so many."""
        if count > self._free:
            raise busy()
        self._free -= count

    def check_size(self, size: int) -> None:
        """Raises RefusedError if a body is too large."""
        if size > self._most:
            reason = f"the body is larger than {self._most // 2**20} MiB (serve.max_mib)"
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)


class ReservedBody:
    """A body in memory that was reserved for it."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self.reserved, self.data = budget, 0, bytearray()

    def reserve(self, size: int) -> None:
        """Reserves memory for a body of this size in all. Raises RefusedError if it is too large, or memory is full."""
        self._budget.check_size(size)
        if size > self.reserved:
            more = max(size - self.reserved, CHUNKED if self.data else 0)
            self._budget.take(more)
            self.reserved += more

    async def read(self, request: Request) -> bytes:
        """Receives the body of a request."""
        self._budget.check_size(int(request.headers.get("content-length", "0")))
        async for chunk in request.stream():
            self.reserve(len(self.data) + len(chunk))
            self.data += chunk
        return bytes(self.data)


def busy() -> RefusedError:
    """Returns the error for a request that comes while too many others wait."""
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests wait; try again", {"retry-after": "1"})


class Forwarder:
    """Answers requests by a router's workers."""

    def __init__(self, router: Router, limits: Limits) -> None:
        self._router, self._limits, self._budget = router, limits, Budget(limits)

    async def __call__(self, request: Request) -> Response:
        """Answers a request, or refuses it in words."""
        is_received = False
        deadline = time.monotonic() + self._limits.seconds
        try:
            async with asyncio.timeout(self._limits.seconds):
                _check_target(request)
                with self._budget.body() as body:
                    data = await body.read(request)
                    is_received = True
                    return await self._answer(request, data, deadline)
        except TimeoutError:
            return self._late(is_received=is_received)
        except FullError:
            return refusal(busy())
        except NoVersionError as error:
            return refusal(RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"retry-after": "5"}))
        except RefusedError as error:
            return refusal(error)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it

    def _late(self, *, is_received: bool) -> Response:
        limit = f"within {self._limits.seconds:g} seconds (serve.seconds)"
        if is_received:
            return refusal(RefusedError(HTTPStatus.GATEWAY_TIMEOUT, f"no answer {limit}"))
        return refusal(RefusedError(HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive {limit}"))

    async def _answer(self, request: Request, data: bytes, deadline: float) -> Response:
        """Asks workers until one answers. One that was never reached counts as no try: it got nothing."""
        tries = 0
        while tries < MAX_TRIES:
            async with self._router.place(alone=tries > 0) as link:
                try:
                    return await self._ask(link, request, data, deadline, is_suspect=tries > 0)
                except DIED:
                    tries += 1
                    RETRIES.inc()
                except httpx.ConnectError:
                    pass
                self._router.lost(link)
        raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "the workers died while they answered", {"retry-after": "5"})

    async def _ask(
        self, link: WorkerLink, request: Request, data: bytes, deadline: float, *, is_suspect: bool
    ) -> Response:
        headers = [(name, value) for name, value in request.headers.raw if name.decode("latin-1") in PASSED_ON]
        headers.append((SECONDS.encode(), f"{max(deadline - time.monotonic(), 0):.3f}".encode()))
        if is_suspect:
            headers.append((SUSPECT.encode(), b"1"))
        target = request.scope["raw_path"] + b"?" + request.scope["query_string"]
        url = httpx.URL("http://worker").copy_with(raw_path=target)
        asked = httpx.Request(request.method, url, headers=headers, content=data)
        response = await link.transport.handle_async_request(asked)
        try:
            content = await response.aread()
        finally:
            await response.aclose()
        back = {name: response.headers[name] for name in PASSED_BACK if name in response.headers}
        return Response(content, response.status_code, back)


def _check_target(request: Request) -> None:
    """Raises RefusedError for a path or query that h11 lets through and httpx does not."""
    if b"#" in request.scope["raw_path"] + request.scope["query_string"]:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "# is no part of a request")


def refusal(error: RefusedError) -> Response:
    """Returns the response for a request that is refused."""
    return JSONResponse({"error": str(error)}, error.status, error.headers)
