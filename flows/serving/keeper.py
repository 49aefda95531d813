"""The keeper of `make serve`: follows the live version, and changes to it without losing a request.

It imports neither PyTorch nor MLflow. It starts the front, the workers and the fetcher, which end when it ends.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path

from flows.config.parameters import ServeSection
from flows.local.rotation import rotate
from flows.registry.version_record import LiveVersion
from flows.serving.fetching import Fetching, UnusableError
from flows.serving.fleet import Fleet
from flows.serving.front_process import FrontProcess
from flows.serving.guide import Guide
from flows.serving.live_watch import UNKNOWN, Sighting, is_version
from flows.serving.messages import Route, Servable
from flows.serving.room import check_imports, check_weights
from flows.serving.spares import Spares
from flows.serving.status import Status

AGAIN, AGAIN_SOON = 300.0, 10.0  # seconds until a version that was not usable is tried again
NOTHING_LIVE = "no version is live yet: promote one in MLflow (make up), or wait for the release"


class Keeper:
    """Serves the live version of a model until it is cancelled."""

    def __init__(
        self,
        section: ServeSection,
        model: str,
        front: FrontProcess,
        spares: Spares,
        fetching: Fetching,
        status: Status,
    ) -> None:
        self._section, self._model, self._front, self._spares = section, model, front, spares
        self._fetching, self._status, self._guide = fetching, status, Guide(model)
        self._live: Fleet | None = None
        self._number = 0  # of the last generation that was begun
        self._is_withdrawn = False
        self._old: set[Fleet] = set()  # which still answer requests
        self._retiring: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follows the live version."""
        aim, reaching = None, None
        try:
            while True:
                sighting = await self._guide.look()
                if sighting and (sighting != aim or (sighting is UNKNOWN and reaching and reaching.done())):
                    await _cancelled(reaching)
                    aim, reaching = sighting, asyncio.create_task(self._reach(sighting))
                self._status.blind(self._guide.complaint)
                with suppress(OSError):  # such as a full disk: the log can wait
                    rotate(self._status.log)
                await asyncio.sleep(self._guide.pause(sighting))
        finally:
            await _cancelled(reaching)
            await self._end()

    async def _reach(self, aim: Sighting) -> None:
        """Serves a version, as soon as it can be."""
        while True:
            try:
                await self._serve(aim)
            except UnusableError as error:
                goes_on = "; the present version is served on" if self._live else ""
                self._status.complain(f"{error}{goes_on}")
                self._status.update(candidate=None)
                await self._spares.fill()
                await asyncio.sleep(AGAIN_SOON if error.temporary else AGAIN)
            except Exception as error:
                traceback.print_exception(error)
                self._status.complain(f"{type(error).__name__}: {error}; trying again")
                await asyncio.sleep(AGAIN_SOON)
            else:
                self._status.complain(self._guide.why_not_live)
                return

    async def _serve(self, aim: Sighting) -> None:
        if aim.is_certain and aim.live is None:
            self._withdraw()
            return
        if self._served and is_version(self._served, aim.live):
            return
        fleet = await self._loaded(aim.live)
        if fleet is not None:
            self._flip(fleet)

    async def _loaded(self, live: LiveVersion | None) -> Fleet | None:
        """Returns proved workers of a version; None if there is nothing to change. They import while it is copied."""
        self._status.update(candidate=live.number if live else None)
        workers, self._number = self._section.workers, self._number + 1
        check_imports(max(workers - self._spares.size, 0))
        fleet = Fleet(self._number, workers, self._spares, self._changed, self._loops)
        preparing = asyncio.create_task(fleet.prepare() if live else asyncio.sleep(0))  # there may be nothing to load
        try:
            servable = await self._fetching.fetch(live, str(fleet.generation), self._served)
            if servable is None:
                self._withdraw()
            elif servable != self._served:
                await (preparing if live else fleet.prepare())
                check_weights(workers, Path(servable.folder))
                await fleet.load(servable)
                return fleet
        except BaseException:
            await self._abandon(fleet, preparing)
            raise
        await self._abandon(fleet, preparing)
        return None

    async def _abandon(self, fleet: Fleet, preparing: asyncio.Task[None]) -> None:
        await _cancelled(preparing)
        await fleet.end()
        self._fetching.remove(str(fleet.generation))

    @property
    def _served(self) -> Servable | None:
        return self._live.servable if self._live else None

    def _flip(self, fleet: Fleet) -> None:
        """Forwards to new workers, and ends the old ones when they have answered all that they got."""
        old, self._live = self._live, fleet
        fleet.keep()
        self._begin(self._hand_over(fleet.generation, old))
        self._status.serves(self._served, fleet.difference, fleet.pids)

    def _withdraw(self) -> None:
        """Answers that no version is live."""
        old, self._live = self._live, None
        if old is None and self._is_withdrawn:
            return
        self._number += 1
        self._is_withdrawn = True
        self._begin(self._hand_over(self._number, old))
        self._status.say(NOTHING_LIVE)
        self._status.update(live=None, candidate=None, workers=())

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _hand_over(self, generation: int, old: Fleet | None) -> None:
        """Tells the front, and ends the old workers."""
        if old:
            old.release()
            self._old.add(old)
        await self._front.route(self._route(), old.generation if old else None)
        self._status.update(generation=generation)
        if old:
            await self._front.drained(old.generation, 2 * self._section.seconds)
            await old.end()
            self._old.discard(old)
            self._fetching.remove(str(old.generation))
            self._status.withdraw(old.servable.number if old.servable else "")
        await self._spares.fill()

    def _route(self) -> Route:
        servable = self._served
        if self._live is None or servable is None:
            return Route(self._number, self._model, "", "", (), NOTHING_LIVE)
        return Route(self._live.generation, servable.model, servable.number, servable.digest, self._live.sockets)

    async def _changed(self, fleet: Fleet) -> None:
        """Tells the front which workers of the live version answer."""
        if fleet is self._live:
            await self._front.route(self._route())
            self._status.update(restarts=fleet.restarts, workers=fleet.pids)

    def _loops(self, fleet: Fleet) -> None:
        """Goes back to the last good version, if the ledger has one."""
        if fleet is not self._live or fleet.servable is None:
            return
        self._guide.skip(LiveVersion(number=fleet.servable.number, made=fleet.servable.made))
        self._status.complain(self._guide.why_not_live)

    async def _end(self) -> None:
        await self._front.end()
        await self._fetching.end()
        await self._spares.end()
        for task in self._retiring:
            task.cancel()
        for fleet in (*self._old, *([self._live] if self._live else [])):
            await fleet.end()


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    """Cancels a task and waits for its end. Its errors are its own; a cancellation of the caller is not lost."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
