"""The keeper's side of the front: started again when it dies, and told again where to forward."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import IO

from flows.serving.child import Child
from flows.serving.messages import Drained, Flipped, Route
from flows.serving.settings import REGISTRY_SECRETS, FrontSettings

QUICK, PAUSE = 2.0, 1.0  # seconds: a front that ends so soon is started again after a pause


class FrontProcess:
    """The front, whatever process it is. The listening socket is kept here: connections wait for the next."""

    def __init__(self, listener: socket.socket, settings: FrontSettings, log: IO[bytes]) -> None:
        self._listener, self._settings, self._log = listener, settings, log
        self._child: Child | None = None
        self._route = Route(0, "", "", "", (), "the server is starting")
        self._flipped: dict[int, asyncio.Event] = {}  # by generation, while somebody waits
        self._drained: dict[int, asyncio.Event] = {}
        self.restarts = -1

    async def keep(self) -> None:
        """Starts the front, again whenever it ends."""
        while True:
            began = time.monotonic()
            with suppress(OSError):  # there is no process or memory to be had now
                await self._run()
            if time.monotonic() - began < QUICK:
                await asyncio.sleep(PAUSE)

    async def _run(self) -> None:
        descriptor = self._listener.fileno()
        self._child = await Child.start(
            "flows.serving.front",
            str(descriptor),
            log=self._log,
            more=self._settings.variables(),
            hidden=REGISTRY_SECRETS,
            fds=[descriptor],
        )
        self.restarts += 1
        await self._child.send(self._route)
        while message := await self._child.receive():
            if isinstance(message, Flipped):  # one that was superseded while there was no front is never told
                _set(event for generation, event in self._flipped.items() if generation <= message.generation)
            elif isinstance(message, Drained):
                _set(event for generation, event in self._drained.items() if generation == message.generation)
        await self._child.end()
        _set(self._drained.values())  # requests that it had are lost

    async def route(self, route: Route, old: int | None = None) -> None:
        """Forwards to other workers from now on, and waits until that is so.

        With `old`, a generation, `drained` can be called for it afterwards.
        """
        self._route = route
        event = self._flipped.setdefault(route.generation, asyncio.Event())
        if old is not None:
            self._drained[old] = asyncio.Event()
        if self._child is not None:
            await self._child.send(route)
        await event.wait()
        self._flipped.pop(route.generation, None)

    async def drained(self, generation: int, seconds: float) -> None:
        """Waits until all requests to a generation were answered, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._drained[generation].wait()
        del self._drained[generation]

    async def end(self) -> None:
        """Lets it answer the requests that it has, and ends it."""
        if self._child is not None:
            self._child.close()
            await self._child.ended()


def _set(events: Iterable[asyncio.Event]) -> None:
    for event in events:
        event.set()
