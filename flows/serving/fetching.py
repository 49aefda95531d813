"""The keeper's side of the fetcher: starts it when a version is needed, and asks one question at a time."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import IO

from flows.registry.version_record import LiveVersion
from flows.serving.child import Child
from flows.serving.messages import Failed, Fetch, NoVersion, Servable, Unchanged
from flows.serving.settings import TOKEN

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

    async def fetch(self, live: LiveVersion | None, name: str, present: Servable | None) -> Servable | None:
        """Returns a checked copy of a version in the folder `name`; without one, of that with the alias live.

        Returns `present`, which is served, if the alias leads to it, and None if there is none. Raises UnusableError if
        there is no copy.
        """
        number, made = (live.number, live.made) if live else (None, None)
        served = f"{present.number}-{present.made}" if present and not live else ""
        answer = await self._answer(Fetch(self._model, number, made, str(self._folder / name), served))
        if isinstance(answer, Failed):
            raise UnusableError(answer.why, temporary=answer.temporary)
        if isinstance(answer, Unchanged):
            return present
        return answer if isinstance(answer, Servable) else None

    async def _answer(self, question: Fetch) -> Servable | NoVersion | Unchanged | Failed:
        async with self._lock:
            try:
                async with asyncio.timeout(SECONDS):
                    return await self._ask(question)
            except BaseException as error:  # also if this version is no longer needed
                await self.end()
                if isinstance(error, TimeoutError):
                    raise UnusableError(f"copying it took over {SECONDS:.0f} seconds", temporary=True) from None
                raise

    def remove(self, name: str) -> None:
        """Removes a copy."""
        shutil.rmtree(self._folder / name, ignore_errors=True)

    async def _ask(self, question: Fetch) -> Servable | NoVersion | Unchanged | Failed:
        for _ in range(2):  # an idle one may just be ending
            if self._child is None or not self._child.is_alive():
                self._folder.mkdir(exist_ok=True)
                more = {"TMPDIR": str(self._folder)}  # what a fetcher that is ended leaves, the keeper removes
                self._child = await Child.start("flows.serving.fetcher", log=self._log, more=more, hidden=(TOKEN,))
            await self._child.send(question)
            answer = await self._child.receive()
            if isinstance(answer, Servable | Failed | NoVersion | Unchanged):
                return answer
            await self.end()
        return Failed("the process that copies versions ended; its log tells why", temporary=True)

    async def end(self) -> None:
        """Ends the fetcher."""
        if self._child is not None:
            await self._child.end()
        self._child = None
