"""Which worker of the front gets a request: the least busy one of the version that is live; others wait in line."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from flows.serving.messages import Route

OUT_SECONDS = 0.25  # for which a worker that has not answered gets nothing: its successor has another socket
KEEP_ALIVE = 15.0  # seconds; less than the workers', so that no request meets a connection that is being closed
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; httpx would make one for each worker, with certificates


class FullError(Exception):
    """As many requests wait as may."""


class NoVersionError(Exception):
    """No version is live; the message tells why."""


@dataclass(eq=False)
class WorkerLink:
    """A worker as the front sees it. `alone`: it answers a request that may end it, and no other."""

    socket: str
    generation: int
    transport: httpx.AsyncHTTPTransport = field(init=False)
    in_flight: int = 0
    alone: bool = False
    out_until: float = 0.0

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Forgets all connections."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE)
        self.transport = httpx.AsyncHTTPTransport(uds=self.socket, verify=CONTEXT, limits=limits)


@dataclass(eq=False)
class Waiter:
    """A request in line; with `alone`, for a worker that answers nothing else."""

    place: asyncio.Future[WorkerLink]
    alone: bool


class Router:
    """Hands out places at the workers of the live version, in the order of requests, `seats` at each worker."""

    def __init__(self, seats: int, most_waiting: int, drained: Callable[[int], None]) -> None:
        self.route = Route(0, "", "", "", (), "the server is starting")
        self._seats, self._most_waiting, self._drained = seats, most_waiting, drained
        self._links: list[WorkerLink] = []
        self._waiting: deque[Waiter] = deque()
        self._in_flight: Counter[int] = Counter()  # by generation

    @property
    def waiting(self) -> int:
        """Returns how many requests are in line."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Returns how many requests the workers have."""
        return self._in_flight.total()

    @property
    def is_ready(self) -> bool:
        """Returns whether a request would be answered now."""
        now = time.monotonic()
        return any(link.out_until <= now for link in self._links)

    def flip(self, route: Route) -> None:
        """Forwards to these workers from now on. Requests that others have are still answered by those."""
        before, self.route = self.route, route
        known = {link.socket: link for link in self._links}
        self._links = [known.get(socket) or WorkerLink(socket, route.generation) for socket in route.sockets]
        if not route.number:
            self._refuse_waiting()
        if before.generation != route.generation and not self._in_flight[before.generation]:
            self._drained(before.generation)
        self._dispatch()

    def _refuse_waiting(self) -> None:
        for waiter in self._waiting:
            if not waiter.place.done():
                waiter.place.set_exception(NoVersionError(self.route.why))

    @asynccontextmanager
    async def place(self, *, alone: bool = False) -> AsyncIterator[WorkerLink]:
        """Waits for a place at a worker, in front of others if `alone`, and holds it.

        Raises NoVersionError or FullError if there is none to wait for.
        """
        link = await self._wait(alone=alone)
        try:
            yield link
        finally:
            self._release(link)

    async def _wait(self, *, alone: bool) -> WorkerLink:
        if not self.route.number:
            raise NoVersionError(self.route.why)
        waiter = Waiter(asyncio.get_running_loop().create_future(), alone)
        (self._waiting.appendleft if alone else self._waiting.append)(waiter)
        self._dispatch()
        if not waiter.place.done() and len(self._waiting) > self._most_waiting and not alone:
            self._waiting.remove(waiter)
            raise FullError
        try:
            return await waiter.place
        except asyncio.CancelledError:
            if waiter.place.done() and not waiter.place.cancelled():
                self._release(waiter.place.result())
            raise

    def lost(self, link: WorkerLink) -> None:
        """Takes note that a worker has not answered. It gets requests again if the keeper does not replace it."""
        link.out_until = time.monotonic() + OUT_SECONDS
        link.renew()
        asyncio.get_running_loop().call_later(OUT_SECONDS, self._dispatch)

    def _release(self, link: WorkerLink) -> None:
        link.in_flight -= 1
        link.alone = False
        self._in_flight[link.generation] -= 1
        if link.generation != self.route.generation and not self._in_flight[link.generation]:
            del self._in_flight[link.generation]
            self._drained(link.generation)
        self._dispatch()

    def _dispatch(self) -> None:
        """Hands out places. The first in line waits for a worker that is free for it, and others wait behind it."""
        while self._waiting:
            if self._waiting[0].place.done():  # it was given up
                self._waiting.popleft()
                continue
            link = self._free(alone=self._waiting[0].alone)
            if link is None:
                return
            waiter = self._waiting.popleft()
            link.in_flight += 1
            link.alone = waiter.alone
            self._in_flight[link.generation] += 1
            waiter.place.set_result(link)

    def _free(self, *, alone: bool) -> WorkerLink | None:
        now, most = time.monotonic(), 0 if alone else self._seats - 1
        free = (link for link in self._links if link.in_flight <= most and not link.alone and link.out_until <= now)
        return min(free, key=lambda link: link.in_flight, default=None)
