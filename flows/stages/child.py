"""Supervised child processes: messages are forwarded as they arrive, and no process in the child's group survives."""

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

from flows.config.parameters import RunSection
from flows.local.interruption import check_interrupted
from flows.stages import limits
from flows.stages.limits import Watch
from flows.stages.process_group import wait_for_end
from tasks.core.errors import RootstockError
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

GRACE = 10.0  # seconds allowed to exit after SIGTERM, and to close the output after the child has exited
TICK = 0.5  # polling interval, in seconds, while the child is silent
TAIL = 30  # number of other output lines kept for an error message
SHOWN = 2000  # maximum length of each of these lines, in characters
LONGEST_LINE = 2**20  # bytes; longer lines are split
CHUNK = 2**16  # bytes per read
LAST = 10  # lines of output shown in the error of stages that crashed

MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Discriminator("kind")])


@dataclass
class Output:
    """A child's output: its stages' records, the failure if there is one, and the last lines of other output."""

    run: str
    on_message: Callable[[DisplayMessage], None]
    records: list[RecordMessage] = field(default_factory=list)
    failure: FailureMessage | None = None
    exceeded: str | None = None  # the key of the limit for which the child was stopped
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    def take(self, line: bytes) -> None:
        """Handles one line. Anything except a message from this run is kept as other output."""
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
        """Keeps a line as a terminal would show it: only the text after the last carriage return."""
        if text := other.decode(errors="replace").rstrip().rpartition("\r")[2]:
            self.tail.append(text[:SHOWN])


def decode(piece: bytes) -> Message | None:
    """Returns the message that follows a separator, or None if it is not a valid message."""
    try:
        return MESSAGE.validate_json(piece, strict=True)
    except ValidationError:
        return None


def run_supervised(
    command: Sequence[str],
    run: RunSection,
    on_message: Callable[[DisplayMessage], None],
    *,
    cwd: Path | None = None,
    check: Callable[[], None] = check_interrupted,
    **environment: str,
) -> tuple[int, Output]:
    """Runs a command and calls `on_message` with its progress and text messages. Returns its exit code and output.

    `check` is called twice a second, and after each line; if it raises an error, the child is ended. A child that
    exceeds a limit of `run` is stopped; each stage record restarts the clocks. Its standard input is a pipe from this
    process, so a stage exits when this process ends for any reason. Processes left behind in the child's process group
    are killed.
    """
    output = Output(uuid.uuid4().hex, on_message)
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,  # of this session, as a process can join only groups of its own session: see fork_server
        cwd=cwd,
        env={**os.environ, **environment, SUPERVISED: output.run},
    )
    try:
        _follow(child, output, Watch(child.pid, run), check)
    finally:
        _end(child)
    return child.returncode, output


def check_outcome(stages: Sequence[str], code: int, output: Output, run: RunSection) -> None:
    """Raises RootstockError if one of the stages that a child ran in order failed or exceeded a limit."""
    if output.exceeded:
        stage = stages[min(len(output.records), len(stages) - 1)]
        raise RootstockError(limits.message(stage, output.exceeded, run), key=output.exceeded)
    if code and output.failure:
        failure = output.failure
        raise RootstockError(f"{failure.stage}: {failure.error}", key=failure.key or "stage-failed")
    if code:
        silent = f"its stages exited with code {code} and without any output; is there enough memory?"
        raise RootstockError("\n".join([*output.tail][-LAST:]) or silent, key="stage-crashed")


def _follow(child: subprocess.Popen[bytes], output: Output, watch: Watch, check: Callable[[], None]) -> None:
    """Handles the child's lines until it exits or exceeds a limit."""
    for line in _lines(child):
        check()
        records = len(output.records)
        output.take(line)
        if len(output.records) > records:
            watch.begin_stage()
        elif line:
            watch.note_output()
        if child.returncode is None and (exceeded := watch.exceeded()):
            output.exceeded = exceeded
            return


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yields the child's lines as they arrive, and empty lines in between, so that the caller can check the time."""
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
    """Yields the child's output, or empty bytes after TICK seconds of silence, until it has exited.

    Its standard input is then closed, which ends a stage whose DVC process was killed; processes that still hold the
    output open have GRACE seconds to close it.
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
    """Returns the bytes that arrive within TICK seconds, possibly none; unregisters a stream at its end."""
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
    """Terminates the child's group, then kills it. If the child has exited, the rest is killed immediately.

    Returns when nothing of the group is alive: what it was writing may be moved then.
    """
    if child.poll() is None:
        _signal(child, signal.SIGTERM)
        _wait(child, GRACE)
    _signal(child, signal.SIGKILL)
    _wait(child, GRACE)
    wait_for_end(child.pid, GRACE)
    _close(child.stdin)
    _close(child.stdout)


def _signal(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # no process left, or only zombies (macOS)
        os.killpg(child.pid, number)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe:
        pipe.close()
