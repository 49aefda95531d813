"""Peak memory of a block of code: resident pages that are not mapped from files (Linux)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
INTERVAL = 0.01  # s


@dataclass
class Peak:
    """The bytes beyond those before the block, as soon as it has ended."""

    bytes: int = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Yields the peak of this process while the context lasts."""
    before, peak = anonymous_bytes(), Peak()

    def sample() -> None:
        peak.bytes = max(peak.bytes, anonymous_bytes() - before)

    with sampled(sample, INTERVAL):
        yield peak


@contextmanager
def sampled(sample: Callable[[], None], interval: float) -> Iterator[None]:
    """Calls `sample` in a thread every `interval` seconds while the context lasts, and once at its end."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(interval):
            sample()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        sample()


def anonymous_bytes(pid: int | str = "self") -> int:
    """Returns the resident memory of a process that is not mapped from files, with what a fork shares with its parent.

    Raises OSError or StopIteration if the process has ended.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
