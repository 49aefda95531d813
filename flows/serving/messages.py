"""What the keeper of `make serve` and its processes tell one another, a line of JSON each: on stdin, and on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any

MAX_TEXT = 2000  # characters of a reason: a line has its limit


@dataclass(frozen=True)
class Servable:
    """A registered version whose files were checked and copied to `folder`, on this machine.

    `files` is the digest of all its files, `digest` that of code, spec and weights, which answers name. `slot` names
    the place of the worker that is to load it, which its successor has, too.
    """

    model: str
    number: str
    made: int
    files: str
    folder: str
    digest: str
    slot: str = ""


@dataclass(frozen=True)
class Fetch:
    """To the fetcher: copy this version. Without a number, the one with the alias live."""

    model: str
    number: str | None
    made: int | None
    folder: str
    present: str = ""  # the number and creation time of the version that is served, which is not copied again


@dataclass(frozen=True)
class NoVersion:
    """From the fetcher: no version has the alias live."""


@dataclass(frozen=True)
class Unchanged:
    """From the fetcher: the version with the alias live is the present one."""


@dataclass(frozen=True)
class Failed:
    """From the fetcher or a worker: why a version is not used. If `temporary`, another attempt may succeed."""

    why: str
    temporary: bool = False


@dataclass(frozen=True)
class Loaded:
    """From a worker: it answers. `bits` is a digest of its outputs for the golden picture.

    `difference` is that of its answer from the recorded one; None if the version was registered without one.
    """

    bits: str
    difference: float | None
    quarantined: int = 0  # pictures that had ended its predecessor


@dataclass(frozen=True)
class Route:
    """To the front: forward to the workers at these sockets from now on; none: answer that no version is live."""

    generation: int
    model: str
    number: str
    digest: str
    sockets: tuple[str, ...]
    why: str = ""  # in words, if there are no workers


@dataclass(frozen=True)
class Flipped:
    """From the front: no request is forwarded to an earlier generation any more."""

    generation: int


@dataclass(frozen=True)
class Drained:
    """From the front: all requests to an earlier generation have been answered."""

    generation: int


Message = Servable | Fetch | NoVersion | Unchanged | Failed | Loaded | Route | Flipped | Drained
KINDS: Mapping[str, Callable[..., Message]] = {
    kind.__name__: kind for kind in (Servable, Fetch, NoVersion, Unchanged, Failed, Loaded, Route, Flipped, Drained)
}


def encoded(message: Message) -> bytes:
    """Returns a message as a line."""
    return json.dumps({"kind": type(message).__name__, **asdict(message)}).encode() + b"\n"


def decoded(line: bytes) -> Message:
    """Returns the message in a line."""
    fields: dict[str, Any] = json.loads(line)
    kind = KINDS[fields.pop("kind")]
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


class Channel:
    """A child's side: messages from stdin, and to what was stdout; what libraries print goes to stderr, the log."""

    def __init__(self) -> None:
        self._out: IO[bytes] = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def receive(self) -> Message | None:
        """Waits for the next message; None if the keeper has ended."""
        line = sys.stdin.buffer.readline()
        return decoded(line) if line.endswith(b"\n") else None

    def send(self, message: Message) -> None:
        """Sends a message. The keeper's end is noticed elsewhere."""
        self._out.write(encoded(message))
        self._out.flush()
