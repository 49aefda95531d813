"""Places at workers: the least busy one, in order, one request alone where it may end its worker."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from flows.serving.messages import Route
from flows.serving.router import OUT_SECONDS, FullError, NoVersionError, Router


def routed(generation=1, sockets=("/a", "/b"), number="1"):
    return Route(generation, "m", number, "digest", sockets, "" if number else "no version is live")


class Places:
    """Requests that hold places until they are released."""

    def __init__(self, seats=2, most_waiting=3):
        self.drained = []
        self.router = Router(seats, most_waiting, self.drained.append)
        self.held = []

    async def take(self, **how):
        stack = AsyncExitStack()
        link = await stack.enter_async_context(self.router.place(**how))
        self.held.append((link, stack))
        return link

    async def release(self, index=0):
        await self.held.pop(index)[1].aclose()


def test_the_least_busy_worker_gets_the_next_request():
    async def scenario():
        places = Places()
        places.router.flip(routed())
        links = [await places.take() for _ in range(4)]
        assert [link.socket for link in links] == ["/a", "/b", "/a", "/b"]
        assert places.router.in_flight == 4

    asyncio.run(scenario())


def test_requests_wait_in_order_and_too_many_are_refused():
    async def scenario():
        places = Places(seats=1, most_waiting=2)
        places.router.flip(routed(sockets=("/a",)))
        await places.take()
        waiting = [asyncio.create_task(places.take()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(FullError):
            await places.take()
        assert places.router.waiting == 2
        await places.release()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [True, False]
        waiting[1].cancel()

    asyncio.run(scenario())


def test_a_suspect_waits_for_an_idle_worker_before_all_others_and_has_it_alone():
    async def scenario():
        places = Places()
        places.router.flip(routed(sockets=("/a",)))
        await places.take()
        suspect = asyncio.create_task(places.take(alone=True))
        await asyncio.sleep(0)
        other = asyncio.create_task(places.take())
        await asyncio.sleep(0.01)
        assert not suspect.done()
        assert not other.done(), "no request may join, or the worker would never be idle"
        await places.release()
        await asyncio.sleep(0.01)
        assert (suspect.done(), other.done()) == (True, False)
        await places.release()
        await asyncio.sleep(0.01)
        assert other.done()

    asyncio.run(scenario())


def test_a_generation_is_drained_when_its_last_request_is_answered():
    async def scenario():
        places = Places()
        places.router.flip(routed(1))
        await places.take()
        places.router.flip(routed(2, ("/c",)))
        assert (await places.take()).socket == "/c"
        assert places.drained == [0]
        await places.release()
        assert places.drained == [0, 1]
        places.router.flip(routed(3, ("/d",)))
        await places.release()
        assert places.drained == [0, 1, 2]
        assert not places.router._in_flight, "a generation that is drained is forgotten"

    asyncio.run(scenario())


def test_without_a_version_all_are_refused_in_words():
    async def scenario():
        places = Places(seats=1)
        with pytest.raises(NoVersionError, match="starting"):
            await places.take()
        places.router.flip(routed(sockets=("/a",)))
        await places.take()
        waiting = asyncio.create_task(places.take())
        await asyncio.sleep(0)
        places.router.flip(routed(2, (), ""))
        with pytest.raises(NoVersionError, match="no version"):
            await waiting

    asyncio.run(scenario())


def test_a_worker_that_does_not_answer_is_left_out_for_a_moment():
    async def scenario():
        places = Places()
        places.router.flip(routed(sockets=("/a",)))
        link = await places.take()
        places.router.lost(link)
        await places.release()
        assert not places.router.is_ready
        waiting = asyncio.create_task(places.take())
        await asyncio.sleep(OUT_SECONDS / 5)
        assert not waiting.done()
        await asyncio.wait_for(waiting, 10 * OUT_SECONDS)

    asyncio.run(scenario())


def test_requests_wait_while_all_workers_of_the_live_version_are_replaced():
    async def scenario():
        places = Places()
        places.router.flip(routed(sockets=()))
        waiting = asyncio.create_task(places.take())
        await asyncio.sleep(0.01)
        places.router.flip(routed(sockets=("/new",)))
        assert (await waiting).socket == "/new"

    asyncio.run(scenario())


def test_a_request_that_is_given_up_holds_no_place():
    async def scenario():
        places = Places(seats=1)
        places.router.flip(routed(sockets=("/a",)))
        await places.take()
        waiting = asyncio.create_task(places.take())
        await asyncio.sleep(0)
        await places.release()  # hands the place out
        waiting.cancel()  # before the task has run again
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert places.router.in_flight == 0
        await places.take()

    asyncio.run(scenario())
