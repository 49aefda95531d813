"""Notices that the system has ended processes because memory was full (Linux's out-of-memory killer)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))  # of this container, else of the machine
NAME = "oom_kill"
KILLED = re.compile(r"exited with (-9|137)\b")  # what DVC says of a command that was ended by SIGKILL


def killed_processes() -> int:
    """Returns how many processes have been ended so far; 0 where the system does not count them."""
    return next((count for file in COUNTERS if (count := _count(file)) is not None), 0)


def was_killed(lines: Iterable[str]) -> bool:
    """Returns whether these last lines of DVC say that a stage was ended by SIGKILL."""
    return any(KILLED.search(line) for line in lines)


def _count(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        lines = (line.split() for line in file.read_text().splitlines())
        return next((int(value) for name, value in lines if name == NAME), None)
    return None
