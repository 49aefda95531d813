"""The keeper's side of the fetcher: starts it when a version is needed, and asks one question at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import IO

from flows.registry.version_record import LiveVersion
from flows.serving.child import Child
from flows.serving.messages import Failed, Fetch, NoVersion, Servable

SECONDS = 300.0  # for one version


class UnusableError(Exception):
    """A version is not used; the message tells why. If `temporary`, another attempt may succeed soon."""

    def __init__(self, why: str, *, temporary: bool = False) -> None:
        super().__init__(why)
        self.temporary = temporary


class Fetching:
    """Copies versions to a folder."""

    def __init__(self, model: str, folder: Path, log: IO[bytes]) -> None:
        self._model, self._folder, self._log = model, folder, log
        self._child: Child | None = None
        self._lock = asyncio.Lock()

    async def fetch(self, live: LiveVersion | None) -> Servable | None:
        """Returns a checked copy of a version; without one, of that with the alias live, or None if there is none.

        Raises UnusableError if there is no copy.
        """
        number, made = (live.number, live.made) if live else (None, None)
        question = Fetch(self._model, number, made, str(self._folder))
        async with self._lock:
            try:
                async with asyncio.timeout(SECONDS):
                    answer = await self._ask(question)
            except BaseException as error:  # also if this version is no longer needed
                await self.end()
                if isinstance(error, TimeoutError):
                    raise UnusableError(f"copying it took over {SECONDS:.0f} seconds", temporary=True) from None
                raise
        if isinstance(answer, Failed):
            raise UnusableError(answer.why, temporary=answer.temporary)
        return answer if isinstance(answer, Servable) else None

    async def _ask(self, question: Fetch) -> Servable | NoVersion | Failed:
        for _ in range(2):  # an idle one may just be ending
            if self._child is None or not self._child.is_alive():
                self._child = await Child.start("flows.serving.fetcher", log=self._log, more={})
            await self._child.send(question)
            answer = await self._child.receive()
            if isinstance(answer, Servable | Failed | NoVersion):
                return answer
            await self.end()
        return Failed("the process that copies versions ended; its log tells why", temporary=True)

    async def end(self) -> None:
        """Ends the fetcher."""
        if self._child is not None:
            await self._child.end()
        self._child = None
