"""The keeper's side of a process that it has started: messages, its end, and its memory."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Self, cast

from flows.serving.messages import Message, decoded, encoded

STOP_SECONDS = 5.0


class Child:
    """A process that ends when this one does, since its standard input closes."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._in, self._out = cast(StreamWriter, process.stdin), cast(StreamReader, process.stdout)

    @classmethod
    async def start(
        cls,
        module: str,
        *arguments: str,
        log: IO[bytes],
        more: Mapping[str, str],
        hidden: tuple[str, ...],
        fds: Sequence[int] = (),
    ) -> Self:
        """Starts a module with `more` variables and without those whose names begin like `hidden` ones.

        It is in a session of its own, so that Ctrl-C reaches only the keeper.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env={**kept, **more},
            pass_fds=fds,
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Returns its process ID."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Returns whether it has not ended."""
        return self._process.returncode is None

    async def send(self, message: Message) -> None:
        """Sends a message; one that has ended gets none."""
        with suppress(ConnectionError, BrokenPipeError):
            self._in.write(encoded(message))
            await self._in.drain()

    async def receive(self) -> Message | None:
        """Waits for its next message; None if it has ended."""
        line = await self._out.readline()
        return decoded(line) if line.endswith(b"\n") else None

    async def ended(self) -> int:
        """Waits until it has ended. Returns its exit code; of a signal, the negative number."""
        return await self._process.wait()

    def close(self) -> None:
        """Asks it to end, by the end of its input."""
        self._in.close()

    async def end(self) -> None:
        """Ends it, by force if need be."""
        self.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        """Ends it by force."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                self._process.kill()
