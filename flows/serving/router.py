"""Which worker of the front gets a request: the least busy one of the version that is live; others wait in line."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from flows.serving.messages import Route

OUT_SECONDS = 0.25  # for which a worker that has not answered gets nothing: its successor has another socket
KEEP_ALIVE = 15.0  # seconds; less than the workers', so that no request meets a connection that is being closed
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; httpx would make one for each worker, with certificates

CLOSING: set[asyncio.Task[None]] = set()


class FullError(Exception):
    """As many requests wait as may."""


class NoVersionError(Exception):
    """No version is live; the message tells why."""


class WorkerLink:
    """A worker as the front sees it. `alone`: it answers a request that may end it, and no other."""

    def __init__(self, socket: str, generation: int) -> None:
        self.socket, self.generation = socket, generation
        self.in_flight, self.alone, self.out_until = 0, False, 0.0
        self._is_retired = False
        self._broken: list[httpx.AsyncHTTPTransport] = []
        self.transport = self._connected()

    def _connected(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE)
        return httpx.AsyncHTTPTransport(uds=self.socket, verify=CONTEXT, limits=limits)

    def renew(self) -> None:
        """Uses none of the present connections again."""
        self._broken.append(self.transport)
        self.transport = self._connected()

    def retire(self) -> None:
        """Closes all connections as soon as no request is in flight."""
        self._is_retired = True
        self.tidy()

    def tidy(self) -> None:
        """Closes connections that are not needed any more, if no request is in flight."""
        if self.in_flight:
            return
        unused, self._broken = self._broken, []
        for transport in [*unused, *([self.transport] if self._is_retired else [])]:
            task = asyncio.get_running_loop().create_task(transport.aclose())
            CLOSING.add(task)
            task.add_done_callback(CLOSING.discard)


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
        present = {link.socket: link for link in self._links}
        self._links = [
            present.pop(socket) if socket in present else WorkerLink(socket, route.generation)
            for socket in route.sockets
        ]
        for link in present.values():
            link.retire()
        if not route.number:
            self._refuse_waiting()
        if before.generation != route.generation and not self._in_flight[before.generation]:
            del self._in_flight[before.generation]
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
            elif waiter in self._waiting:
                self._waiting.remove(waiter)
                self._dispatch()
            raise

    def lost(self, link: WorkerLink) -> None:
        """Takes note that a worker has not answered. It gets requests again if the keeper does not replace it."""
        link.out_until = time.monotonic() + OUT_SECONDS
        link.renew()
        asyncio.get_running_loop().call_later(OUT_SECONDS, self._dispatch)

    def _release(self, link: WorkerLink) -> None:
        link.in_flight -= 1
        link.alone = False
        link.tidy()
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
