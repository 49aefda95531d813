"""Messages from a stage to its supervisor: JSON objects, one a line, each after a record separator (RFC 7464).

The separator tells them from what libraries print, also in the middle of a line. The types are plain dataclasses, so
that code which only computes can send them; the supervisor reads them back into the same types.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

SUPERVISED = "ROOTSTOCK_SUPERVISED"  # set by a supervisor; its value names the run, and comes back in records
SEPARATOR = b"\x1e"


@dataclass(frozen=True)
class ProgressMessage:
    """How much of a job is done, such as 450 of 1000 images read."""

    done: int
    total: int
    what: str
    kind: Literal["progress"] = "progress"

    @property
    def percent(self) -> int:
        """The share that is done, rounded down."""
        return 100 * self.done // max(self.total, 1)

    def __str__(self) -> str:
        return f"{self.percent}% {self.done} of {self.total} {self.what}"


@dataclass(frozen=True)
class TextMessage:
    """A line for people."""

    text: str
    kind: Literal["message"] = "message"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class RecordMessage:
    """What a stage reports when it has been computed, its seconds, and its peak memory in MiB."""

    run: str | None
    stage: str
    seconds: float
    peak_mib: float
    report: dict[str, Any]
    kind: Literal["record"] = "record"


@dataclass(frozen=True)
class FailureMessage:
    """Why a stage failed, and its exit code."""

    run: str | None
    stage: str
    error: str
    exit_code: int
    kind: Literal["failure"] = "failure"


DisplayMessage = ProgressMessage | TextMessage  # str() gives the line to show
Message = DisplayMessage | RecordMessage | FailureMessage


def encode(message: Message) -> bytes:
    """Returns the message as a line. What UTF-8 cannot hold, such as parts of odd file names, becomes `?`."""
    return SEPARATOR + json.dumps(asdict(message), ensure_ascii=False).encode(errors="replace") + b"\n"


def send(message: Message) -> bool:
    """Writes the message to the supervisor at once. Returns False, and writes nothing, if there is no supervisor."""
    if SUPERVISED not in os.environ:
        return False
    sys.stdout.flush()
    sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()
    return True
