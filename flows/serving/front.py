"""The front of `make serve`: keeps clients' connections, and forwards requests to the workers that the keeper names.

python -m flows.serving.front LISTENER, a file descriptor; `FrontSettings` are in the environment. The
listening socket is the keeper's, so that connections wait for the next front if this one dies.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys

import uvicorn

from flows.serving.front_app import front_app
from flows.serving.heartbeat import beat
from flows.serving.messages import Channel, Drained, Flipped, Route, decoded
from flows.serving.protocol import TimedProtocol
from flows.serving.router import Router
from flows.serving.settings import TOKEN, FrontSettings
from flows.serving.uvicorn_options import KEEP_ALIVE_FRONT, OPTIONS

MAX_CONNECTIONS = 1000


async def main(listener: int) -> None:
    """Serves until the keeper closes standard input."""
    channel, settings = Channel(), FrontSettings.load()
    router = Router(settings.seats, settings.queue, lambda generation: channel.send(Drained(generation)))
    app = front_app(router, settings.limits, os.environ.get(TOKEN), settings.hosts)
    options = {**OPTIONS, "http": TimedProtocol}
    config = uvicorn.Config(app, timeout_keep_alive=KEEP_ALIVE_FRONT, limit_concurrency=MAX_CONNECTIONS, **options)
    server = uvicorn.Server(config)
    gc.freeze()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    if not await _flip(router, channel, await reader.readline()):  # connections wait until it is clear what to answer
        return
    tasks = [asyncio.create_task(work) for work in (_follow(router, channel, server, reader), beat())]
    await server.serve(sockets=[socket.socket(fileno=listener)])
    for task in tasks:
        task.cancel()


async def _follow(router: Router, channel: Channel, server: uvicorn.Server, reader: asyncio.StreamReader) -> None:
    """Does what the keeper says, and ends the server when it ends."""
    try:
        while await _flip(router, channel, await reader.readline()):
            pass
    finally:
        server.should_exit = True


async def _flip(router: Router, channel: Channel, line: bytes) -> bool:
    """Forwards as a line of the keeper says. Returns whether there was one."""
    message = decoded(line) if line.endswith(b"\n") else None
    if not isinstance(message, Route):
        return False
    router.flip(message)
    channel.send(Flipped(message.generation))
    return True


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
