"""What the processes of a command cost: processor time and peak memory of each, sampled from /proc."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks.peak_memory import MIB, anonymous_bytes, sampled

INTERVAL = 0.1  # s; what a process does after its last sample is not counted


@dataclass
class Costs:
    """Seconds of processor time and the peak of anonymous memory, in MiB, by the name of processes."""

    seconds: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)


@contextmanager
def watched() -> Iterator[Costs]:
    """Yields the costs of all processes below this one, which are complete when the context ends.

    A process that already runs counts from now on. Those of one name are added up, and the largest peak is kept.
    """
    costs = Costs()
    before: dict[int, float] = {}
    for process in below():
        with suppress(psutil.Error):
            before[process.pid] = used(process)
    last: dict[tuple[int, str], float] = {}

    def sample() -> None:
        for process in below():
            with suppress(psutil.Error, OSError, StopIteration, IndexError):  # it ends or is being replaced
                name = name_of(process)
                last[process.pid, name] = used(process)
                costs.peaks[name] = max(costs.peaks.get(name, 0.0), anonymous_bytes(process.pid) / MIB)

    try:
        with sampled(sample, INTERVAL):
            yield costs
    finally:
        costs.seconds.update(added(last, before))


def below() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def used(process: psutil.Process) -> float:
    """Returns the seconds of processor time of a process without its children. Raises psutil.Error if it has ended."""
    times = process.cpu_times()
    return times.user + times.system


def name_of(process: psutil.Process) -> str:
    """Returns a fork's name, or what a command runs."""
    name, command = process.name(), process.cmdline()
    if name == "dask":
        return f"dask {command[2]}"
    if not name.startswith("python"):
        return name
    if "-m" not in command[:4]:
        return Path(command[1]).name
    return re.sub(" [0-9].*", "", " ".join(command[command.index("-m") + 1 :][:2]))


def added(last: dict[tuple[int, str], float], before: dict[int, float]) -> dict[str, float]:
    """Returns the seconds by name. A process that changes its name, as a fork does, counts under each for its part."""
    seconds: dict[str, float] = defaultdict(float)
    counted = dict(before)
    for (pid, name), total in last.items():
        seconds[name] += total - counted.get(pid, 0.0)
        counted[pid] = total
    return seconds
