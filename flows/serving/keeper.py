"""The keeper of `make serve`: follows the live version, and changes to it without losing a request.

It imports neither PyTorch nor MLflow. It starts the front, the workers and the fetcher, which end when it ends.
"""

from __future__ import annotations

import asyncio
import shutil
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
from flows.serving.live_watch import UNKNOWN, Sighting
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
        self._generation = 0
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
                await asyncio.sleep(AGAIN_SOON if error.temporary else AGAIN)
            except Exception as error:
                traceback.print_exception(error)
                self._status.complain(f"{type(error).__name__}: {error}; trying again")
                await asyncio.sleep(AGAIN_SOON)
            else:
                self._status.complain(self._guide.why_not_live)
                return

    async def _serve(self, aim: Sighting) -> None:
        if aim.is_known and aim.live is None:
            self._withdraw()
            return
        if self._live and self._live.servable and _is_served(self._live.servable, aim.live):
            return
        fleet = await self._loaded(aim.live)
        if fleet is not None:
            self._flip(fleet)

    async def _loaded(self, live: LiveVersion | None) -> Fleet | None:
        """Returns proved workers of a version; None if there is nothing to change. They import while it is copied."""
        self._status.update(candidate=live.number if live else None)
        fleet = Fleet(self._generation + 1, self._section.workers, self._spares, self._changed, self._loops)
        check_imports(self._section.workers)
        preparing = asyncio.create_task(fleet.prepare() if live else asyncio.sleep(0))
        try:
            servable = await self._fetching.fetch(live)
            if servable is None:
                self._withdraw()
            elif not (self._live and self._live.servable == servable):
                check_weights(self._section.workers, Path(servable.folder))
                await (preparing if live else fleet.prepare())
                await fleet.load(servable)
                return fleet
        except BaseException:
            await _abandoned(fleet, preparing)
            raise
        await _abandoned(fleet, preparing)
        return None

    def _flip(self, fleet: Fleet) -> None:
        """Forwards to new workers, and ends the old ones when they have answered all that they got."""
        old, self._live = self._live, fleet
        self._generation = fleet.generation
        fleet.keep()
        self._begin(self._hand_over(_route_of(fleet), old))
        self._tell(fleet)

    def _withdraw(self) -> None:
        """Answers that no version is live."""
        old, self._live = self._live, None
        self._generation += 1
        self._begin(self._hand_over(Route(self._generation, self._model, "", "", (), NOTHING_LIVE), old))
        self._status.say(NOTHING_LIVE)
        self._status.update(live=None, candidate=None, workers=())

    def _tell(self, fleet: Fleet) -> None:
        servable = fleet.servable
        if servable is None:
            return
        difference = fleet.difference
        proof = "it has no golden picture" if difference is None else f"golden picture: within {difference:.1g}"
        self._status.say(f"version {servable.number} of {servable.model} answers at {self._status.url} ({proof})")
        live = {"version": servable.number, "digest": servable.digest, "difference": fleet.difference}
        self._status.update(live=live, candidate=None, workers=fleet.pids)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _hand_over(self, route: Route, old: Fleet | None) -> None:
        await self._front.route(route)
        self._status.update(generation=route.generation)
        await self._spares.fill()
        if old is None:
            return
        await self._front.drained(old.generation, 2 * self._section.seconds)
        await old.end()
        if old.servable:
            self._status.withdraw(old.servable.number)
            if not (self._live and self._live.servable and self._live.servable.folder == old.servable.folder):
                shutil.rmtree(old.servable.folder, ignore_errors=True)

    async def _changed(self, fleet: Fleet) -> None:
        """Tells the front which workers of the live version answer."""
        if fleet is self._live:
            await self._front.route(_route_of(fleet))
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
        if self._live:
            await self._live.end()


def _is_served(servable: Servable, live: LiveVersion | None) -> bool:
    return LiveVersion(number=servable.number, made=servable.made, files=servable.files).is_same(live)


def _route_of(fleet: Fleet) -> Route:
    servable = fleet.servable
    assert servable is not None  # noqa: S101 - for mypy
    return Route(fleet.generation, servable.model, servable.number, servable.digest, fleet.sockets)


async def _abandoned(fleet: Fleet, preparing: asyncio.Task[None]) -> None:
    await _cancelled(preparing)
    await fleet.end()


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
