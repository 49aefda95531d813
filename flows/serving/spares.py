"""Workers that have imported PyTorch already, for the next version or in place of one that has died.

The import takes seconds of a core: without them, a change takes as much longer, and so do the requests of a worker that
has died.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from flows.serving.child import Child
from flows.serving.room import has_room_for_imports
from flows.serving.settings import REGISTRY_SECRETS, TOKEN, WorkerSettings

HIDDEN = (*REGISTRY_SECRETS, TOKEN)


@dataclass
class Worker:
    """A worker's process and its socket, which exists when it answers."""

    child: Child
    socket: str
    is_ready: bool = False


class Spares:
    """Starts workers of any version, and keeps `count` of them in reserve."""

    def __init__(self, count: int, sockets: Path, settings: WorkerSettings, log: IO[bytes]) -> None:
        self._count, self._sockets, self._settings, self._log = count, sockets, settings, log
        self._kept: list[Worker] = []
        self._number = 0
        self._lock = asyncio.Lock()

    async def take(self) -> Worker:
        """Returns one of the reserve, or a new one."""
        while self._kept:
            worker = self._kept.pop()
            if worker.child.is_alive():
                return worker
        return await self._started()

    async def fill(self) -> None:
        """Starts what is missing in the reserve, as far as there is memory for it."""
        with suppress(OSError):
            async with self._lock:
                while len(self._kept) < self._count and has_room_for_imports(1):
                    self._kept.append(await self._started())

    @property
    def size(self) -> int:
        """Returns the number of workers in reserve."""
        return len(self._kept)

    async def end(self) -> None:
        """Ends the reserve."""
        await asyncio.gather(*(worker.child.end() for worker in self._kept))

    async def _started(self) -> Worker:
        self._number += 1
        socket = str(self._sockets / str(self._number))
        more = self._settings.variables()
        return Worker(
            await Child.start("flows.serving.worker", socket, log=self._log, more=more, hidden=HIDDEN), socket
        )
