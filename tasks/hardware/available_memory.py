"""Returns how much memory a process can still take: of the machine, or of its container."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

MACHINE, CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Returns the memory that is available, in bytes; where the system does not tell, half of what it has."""
    amounts = [amount for amount in (_of_machine(), _of_container()) if amount is not None]
    return max(0, min(amounts)) if amounts else total_bytes() // 2


def total_bytes() -> int:
    """Returns the memory of the machine, or the limit of its container, in bytes."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(machine, _limit() or machine)


def _of_machine() -> int | None:
    kib = _field(MACHINE, "MemAvailable:")
    return None if kib is None else 1024 * kib


def _of_container() -> int | None:
    """Returns the limit of this process's control group less its memory, cached files apart; None without a limit."""
    limit = _limit()
    return None if limit is None else limit - (_field(CONTAINER / "memory.stat", "anon") or 0)


def _limit() -> int | None:
    with suppress(OSError, ValueError):
        return int((CONTAINER / "memory.max").read_text())
    return None


def _field(file: Path, name: str) -> int | None:
    with suppress(OSError, ValueError):
        lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
        return next((int(line[1]) for line in lines if line[0] == name), None)
    return None
