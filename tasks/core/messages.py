"""Messages from a stage to its supervisor: one JSON object per line, each after a record separator (RFC 7464).

The separator distinguishes messages from library output, even in the middle of a line. The types are plain dataclasses,
so that compute code needs no validation library to send them; the supervisor parses them.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

SUPERVISED = "ROOTSTOCK_SUPERVISED"  # set by the supervisor to the run's name, which records include
SEPARATOR = b"\x1e"
WARNING = "warning: "  # prefix of a text that a person must see


@dataclass(frozen=True)
class ProgressMessage:
    """Progress of a job, such as 450 of 1000 images read."""

    done: int
    total: int
    what: str
    kind: Literal["progress"] = "progress"

    @property
    def percent(self) -> int:
        """Returns the percentage done, rounded down."""
        return 100 * self.done // max(self.total, 1)

    def __str__(self) -> str:
        return f"{self.percent}% {self.done} of {self.total} {self.what}"


@dataclass(frozen=True)
class TextMessage:
    """A human-readable line of text."""

    text: str
    kind: Literal["message"] = "message"

    @property
    def is_warning(self) -> bool:
        """Returns whether a person must see this line."""
        return self.text.startswith(WARNING)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class RecordMessage:
    """A completed stage: its report, its duration in seconds and its peak memory in MiB."""

    run: str | None
    stage: str
    seconds: float
    peak_mib: float
    report: dict[str, Any]
    kind: Literal["record"] = "record"


@dataclass(frozen=True)
class FailureMessage:
    """A failed stage: the error's message, its key (empty for a bug), and the exit code."""

    run: str | None
    stage: str
    error: str
    key: str
    exit_code: int
    kind: Literal["failure"] = "failure"


DisplayMessage = ProgressMessage | TextMessage  # str() returns the line to show
Message = DisplayMessage | RecordMessage | FailureMessage


def encode(message: Message) -> bytes:
    """Returns the message as one line. Characters that UTF-8 cannot encode, as in some file names, become `?`."""
    return SEPARATOR + json.dumps(asdict(message), ensure_ascii=False).encode(errors="replace") + b"\n"


def send(message: Message) -> bool:
    """Writes the message to the supervisor and flushes. Without a supervisor, writes nothing and returns False."""
    if SUPERVISED not in os.environ:
        return False
    sys.stdout.flush()
    sys.stdout.buffer.write(encode(message))
    sys.stdout.buffer.flush()
    return True
