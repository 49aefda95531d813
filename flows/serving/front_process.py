"""The keeper's side of the front: started again when it dies, and told again where to forward."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from contextlib import suppress
from typing import IO

from flows.serving.child import Child
from flows.serving.messages import Drained, Flipped, Route
from flows.serving.settings import FrontSettings

QUICK, PAUSE = 2.0, 1.0  # seconds: a front that ends so soon is started again after a pause


class FrontProcess:
    """The front, whatever process it is. The listening socket is kept here: connections wait for the next."""

    def __init__(self, listener: socket.socket, settings: FrontSettings, log: IO[bytes]) -> None:
        self._listener, self._settings, self._log = listener, settings, log
        self._child: Child | None = None
        self._route: Route | None = None
        self._flipped: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self._drained: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
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
            "flows.serving.front", str(descriptor), log=self._log, more=self._settings.variables(), fds=[descriptor]
        )
        self.restarts += 1
        if self._route:
            await self._child.send(self._route)
        while message := await self._child.receive():
            if isinstance(message, Flipped):
                self._flipped[message.generation].set()
            elif isinstance(message, Drained):
                self._drained[message.generation].set()
        await self._child.end()
        for event in self._drained.values():  # requests that it had are lost
            event.set()

    async def route(self, route: Route) -> None:
        """Forwards to other workers from now on, and waits until that is so."""
        self._route = route
        if self._child is not None:
            await self._child.send(route)
        await self._flipped[route.generation].wait()

    async def drained(self, generation: int, seconds: float) -> None:
        """Waits until all requests to a generation were answered, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._drained[generation].wait()
        except TimeoutError:
            pass
        for events in (self._drained, self._flipped):
            events.pop(generation, None)

    async def end(self) -> None:
        """Lets it answer the requests that it has, and ends it."""
        if self._child is not None:
            self._child.close()
            await self._child.ended()
