"""Notices that the system has ended processes because memory was full (Linux's out-of-memory killer)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

COUNTERS = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))  # of the machine, and of this container
NAME = "oom_kill"


def killed_processes() -> int:
    """Returns how many processes have been ended so far; 0 where the system does not count them."""
    return sum(_count(file) for file in COUNTERS)


def _count(file: Path) -> int:
    with suppress(OSError, ValueError):
        lines = (line.split() for line in file.read_text().splitlines())
        return next((int(value) for name, value in lines if name == NAME), 0)
    return 0
