"""A command as a supervised child: its messages are handed on as they come, and nothing that it started outlives it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, cast

from pydantic import Discriminator, TypeAdapter, ValidationError

from tasks.core.messages import (
    SEPARATOR,
    SUPERVISED,
    DisplayMessage,
    FailureMessage,
    Message,
    ProgressMessage,
    RecordMessage,
    TextMessage,
)

GRACE = 10.0  # seconds that a child has to end after SIGTERM, and what it started after its end
TICK = 0.5  # seconds between two looks at a silent child
TAIL = 30  # lines of other output that are kept for an error
SHOWN = 2000  # characters of each of them
LONGEST_LINE = 2**20  # bytes; a longer line is taken apart
CHUNK = 2**16  # bytes read at once

MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Discriminator("kind")])


@dataclass
class Output:
    """What a child said: the records of its stages, why one failed, and the last lines that are no messages."""

    run: str
    on_message: Callable[[DisplayMessage], None]
    records: list[RecordMessage] = field(default_factory=list)
    failure: FailureMessage | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    def take(self, line: bytes) -> None:
        """Handles one line; what is no message, or a record of another run, is other output."""
        other, *pieces = line.split(SEPARATOR)
        self._keep(other)
        for piece in pieces:
            match decode(piece):
                case ProgressMessage() | TextMessage() as message:
                    self.on_message(message)
                case RecordMessage(run=self.run) as record:
                    self.records.append(record)
                case FailureMessage(run=self.run) as failure:
                    self.failure = failure
                case _:
                    self._keep(piece)

    def _keep(self, other: bytes) -> None:
        """Keeps a line as a terminal would show it in the end, without what carriage returns overwrote."""
        if text := other.decode(errors="replace").rstrip().rpartition("\r")[2]:
            self.tail.append(text[:SHOWN])


def decode(piece: bytes) -> Message | None:
    """Returns the message that a line holds after its separator, or None if it holds none."""
    try:
        return MESSAGE.validate_json(piece, strict=True)
    except ValidationError:
        return None


def run_supervised(
    command: Sequence[str],
    timeout: float,
    on_message: Callable[[DisplayMessage], None],
    *,
    cwd: Path | None = None,
    **environment: str,
) -> tuple[int | None, Output]:
    """Runs a command, and calls `on_message` with its progress and texts. Returns its exit code and what it said.

    The code is None if the child took longer than `timeout` seconds; they are counted anew after each record. The
    child's standard input is a pipe held here: it ends when this process does, however that happens, and then a stage
    exits. What the child started and left behind in its session is killed.
    """
    output = Output(uuid.uuid4().hex, on_message)
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        cwd=cwd,
        env={**os.environ, **environment, SUPERVISED: output.run},
    )
    try:
        in_time = _follow(child, output, timeout)
    finally:
        _end(child)
    return (child.returncode if in_time else None), output


def too_late(stage: str, timeout: float) -> str:
    """Returns the error of a stage that ran out of time."""
    return f"{stage} took longer than {timeout:g} seconds (run.timeout) and was ended"


def _follow(child: subprocess.Popen[bytes], output: Output, timeout: float) -> bool:
    """Takes the child's lines until it ends. Returns False if it took too long."""
    deadline = time.monotonic() + timeout
    for line in _lines(child):
        records = len(output.records)
        output.take(line)
        if len(output.records) > records:
            deadline = time.monotonic() + timeout
        if child.returncode is None and time.monotonic() > deadline:
            return False
    return True


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yields the child's lines as they come, and empty ones in between, so that the caller can look at the clock."""
    rest = b""
    for chunk in _chunks(child):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > LONGEST_LINE:
            yield rest
            rest = b""
        yield b""
    yield rest


def _chunks(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yields what the child prints, or nothing after TICK seconds of silence, until it has ended.

    Then its standard input is closed, which ends a stage whose DVC was killed; whoever still holds its output has GRACE
    seconds.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(cast("IO[bytes]", child.stdout), selectors.EVENT_READ)
        while child.poll() is None:
            yield _read(selector) if selector.get_map() else _wait(child, TICK)
        _close(child.stdin)
        last = time.monotonic() + GRACE
        while selector.get_map() and time.monotonic() < last:
            yield _read(selector)


def _read(selector: selectors.BaseSelector) -> bytes:
    """Returns what can be read within TICK seconds, maybe nothing; a stream at its end is unregistered."""
    for key, _events in selector.select(TICK):
        if chunk := os.read(key.fd, CHUNK):
            return chunk
        selector.unregister(key.fileobj)
    return b""


def _wait(child: subprocess.Popen[bytes], seconds: float) -> bytes:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    return b""


def _end(child: subprocess.Popen[bytes]) -> None:
    """Ends the child and its session: first asked, then killed. What outlived the child is killed at once."""
    if child.poll() is None:
        _signal(child, signal.SIGTERM)
        _wait(child, GRACE)
    _signal(child, signal.SIGKILL)
    _wait(child, GRACE)
    _close(child.stdin)
    _close(child.stdout)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended; macOS says the latter of zombies
        os.killpg(child.pid, number)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe:
        pipe.close()
