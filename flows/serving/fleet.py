"""The workers of one version: started side by side, proved, and replaced when they die."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.serving.fetching import UnusableError
from flows.serving.messages import Failed, Loaded, Servable
from flows.serving.spares import Spares, Worker

START_SECONDS = 180.0  # for imports, loading and proof
MAX_DEATHS, DEATH_SECONDS = 5, 120.0  # more within this time are a crash loop
DEATHS_BY_PICTURE = 2  # which say nothing about the version
PAUSE = 10.0  # seconds between starts in a crash loop


@dataclass(eq=False)
class Fleet:
    """The workers of one version. `changed` is called when one has died, or answers again; `loops` in a crash loop."""

    generation: int
    count: int
    spares: Spares
    changed: Callable[[Fleet], Awaitable[None]]
    loops: Callable[[Fleet], None]
    servable: Servable | None = None
    bits: str = ""
    difference: float | None = None
    workers: dict[int, Worker] = field(default_factory=dict)
    restarts: int = 0
    _deaths: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DEATHS))
    _keeping: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def sockets(self) -> tuple[str, ...]:
        """Returns the sockets of the workers that answer."""
        return tuple(worker.socket for worker in self.workers.values() if worker.is_ready)

    @property
    def pids(self) -> tuple[int, ...]:
        """Returns the process IDs of the workers that answer."""
        return tuple(worker.child.pid for worker in self.workers.values() if worker.is_ready)

    async def prepare(self) -> None:
        """Starts the processes, which import PyTorch while the version may still be copied."""
        for slot in range(self.count):
            self.workers[slot] = await self.spares.take()

    async def load(self, servable: Servable) -> None:
        """Loads the version in all workers. Raises UnusableError if one refuses it, or they answer differently."""
        self.servable = servable
        await asyncio.gather(*(self._load(slot) for slot in self.workers))

    def keep(self) -> None:
        """Replaces workers that die from now on."""
        self._keeping = [asyncio.create_task(self._keep(slot)) for slot in self.workers]

    def release(self) -> None:
        """Replaces no worker any more: what one that dies has not answered, another version answers."""
        for task in self._keeping:
            task.cancel()

    async def end(self) -> None:
        """Ends all workers."""
        self.release()
        await asyncio.gather(*(worker.child.end() for worker in self.workers.values()))
        for worker in self.workers.values():
            Path(worker.socket).unlink(missing_ok=True)

    async def _load(self, slot: int) -> None:
        worker, servable = self.workers[slot], self.servable
        assert servable is not None  # noqa: S101 - for mypy
        try:
            async with asyncio.timeout(START_SECONDS):
                await worker.child.send(replace(servable, slot=f"{self.generation}-{slot}"))
                answer = await worker.child.receive()
        except TimeoutError:
            raise UnusableError(f"its worker did not start in {START_SECONDS:.0f} seconds", temporary=True) from None
        if isinstance(answer, Failed):
            raise UnusableError(answer.why)
        if not isinstance(answer, Loaded):
            raise UnusableError("its worker ended while it loaded the version; the log tells why", temporary=True)
        if self.bits and answer.bits != self.bits:
            raise UnusableError("loaded twice on this machine, it answers differently")
        self.bits, self.difference = answer.bits, answer.difference
        for _ in range(min(DEATHS_BY_PICTURE * answer.quarantined, len(self._deaths))):
            self._deaths.pop()
        worker.is_ready = True

    async def _keep(self, slot: int) -> None:
        """Replaces the worker in a slot whenever it dies."""
        while True:
            try:
                await self._replaced(slot)
            except Exception as error:  # of the system: there is no process or memory to be had now
                traceback.print_exception(error)
                await asyncio.sleep(PAUSE)

    async def _replaced(self, slot: int) -> None:
        worker = self.workers[slot]
        await worker.child.ended()
        worker.is_ready = False
        self.restarts += 1
        Path(worker.socket).unlink(missing_ok=True)
        await self.changed(self)
        await self._pause()
        self.workers[slot] = await self.spares.take()
        try:
            await self._load(slot)
        except UnusableError:
            await self.workers[slot].child.end()
        await self.changed(self)
        await self.spares.fill()

    async def _pause(self) -> None:
        """Takes note of a death. In a crash loop, says so and waits."""
        self._deaths.append(time.monotonic())
        if len(self._deaths) == MAX_DEATHS and self._deaths[-1] - self._deaths[0] < DEATH_SECONDS:
            self.loops(self)
            await asyncio.sleep(PAUSE)
