"""What a fork of a server does about itself: when it ends, what it is called, and how it has ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from tasks.core.errors import EXIT_BROKEN

PR_SET_PDEATHSIG = 1  # see prctl(2)
LIBC = ctypes.CDLL(None)


def end_with(server: int) -> None:
    """Has the system kill this process, a fork, when the server ends. Raises OSError if it has ended already."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        raise ProcessLookupError("the server has ended")


def name_process(name: str) -> None:
    """Sets the name of this process that ps and top show, at most 15 bytes of it."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def exit_code(end: SystemExit) -> int:
    """Returns the exit code of sys.exit, whose argument may also be nothing, or a text that is then printed."""
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
        return EXIT_BROKEN
    return end.code or 0
