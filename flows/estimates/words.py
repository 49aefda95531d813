"""Says in words what a run takes: rows of make doctor, and a line at the start of a long run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from flows.estimates.estimate import WRITTEN, Estimate
from flows.estimates.present import Present, present
from flows.estimates.room import REMEDIES, REMEDY
from tasks.core.disk import free_bytes, size
from tasks.core.paths import Paths
from tasks.core.schema import STAGES
from tasks.hardware.available_memory import available_bytes

Number = TypeVar("Number", int, float)

GROWTH = 10  # times as many images
LONG = 600.0  # seconds from which a run is announced
UNMEASURED = "what a run takes has not been measured yet: make run measures it"


def rows(paths: Paths) -> Iterator[str]:
    """Yields what the last runs took, and what they would take with ten times as many images."""
    now = present(paths)
    if now is None or not now.measured:
        yield UNMEASURED
        return
    yield _measured(now)
    later = now.estimate(GROWTH)
    yield f"{later.counts.images:,} images, estimated from it: {_costs(later)}"
    yield f"{later.counts.images:,} images, {first_to_break(now.estimate(), later, paths.state)}"


def first_to_break(now: Estimate, later: Estimate, place: Path) -> str:
    """Returns what has no room for the later estimate on this machine, and what to do about it."""
    more, free = sum(later.disk.values()) - sum(now.disk.values()), free_bytes(place)
    stage = max(later.memory, key=later.memory.__getitem__)
    needed, available = later.memory[stage], available_bytes()
    breaks = []
    if needed > available:
        breaks.append(
            f"memory: {stage} needs {size(needed)}, {size(available)} are available; {REMEDIES.get(stage, REMEDY)}"
        )
    if more > free:
        breaks.append(
            f"disk: {size(more)} more are needed, {size(free)} are free; make prune removes old versions, and "
            "features.views decides on the number of features"
        )
    return f"estimated to break first: {'; '.join(breaks)}" if breaks else "estimated to fit into memory and disk"


def long_run(now: Present, outdated: Collection[str]) -> str | None:
    """Returns a line on a run of these stages that is estimated to take long; None for a short or unmeasured one."""
    run = now.estimate()
    seconds, memory = _only(run.seconds, outdated), _only(run.memory, outdated)
    total = sum(seconds.values())
    if total < LONG:
        return None
    longest, largest = max(seconds, key=seconds.__getitem__), max(memory, key=memory.__getitem__)
    disk = sum(run.disk.get(what, 0) for stage in outdated for what in WRITTEN.get(stage, ()))
    return (
        f"estimated from earlier runs on this machine for {now.counts.images:,} images: at most {duration(total)}, "
        f"{duration(seconds[longest])} of it {longest}, {size(memory[largest])} of memory ({largest}), "
        f"and {size(disk)} of new files; results of earlier images save time and disk"
    )


def _only(by_stage: Mapping[str, Number], stages: Collection[str]) -> dict[str, Number]:
    return {stage: number for stage, number in by_stage.items() if stage in stages}


def duration(seconds: float) -> str:
    """Returns a duration in words, such as 3.5 h."""
    for unit, length in (("days", 48 * 3600.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / (24 * 3600.0 if unit == 'days' else length):.1f} {unit}"
    return f"{seconds:.0f} s"


def _measured(now: Present) -> str:
    """Returns what the last runs took, with the number of images of the longest stage."""
    seconds = {stage: each.seconds for stage, each in now.measured.items()}
    longest = now.measured[max(seconds, key=seconds.__getitem__)]
    stage = max(now.measured, key=lambda each: now.measured[each].peak_mib)
    peak = size(now.measured[stage].peak_mib * 2**20)
    missing = [stage for stage in STAGES if stage not in seconds]
    return f"{longest.counts.images:,} images, measured: {_by_stage(seconds)}; at most {peak} of memory ({stage})" + (
        f"; not measured yet: {', '.join(missing)}" if missing else ""
    )


def _costs(later: Estimate) -> str:
    stage = max(later.memory, key=later.memory.__getitem__)
    disk = ", ".join(f"{what} {size(number)}" for what, number in later.disk.items() if number >= 2**20)
    return f"{_by_stage(later.seconds)}; at most {size(later.memory[stage])} of memory ({stage}); disk: {disk}"


def _by_stage(seconds: Mapping[str, float]) -> str:
    longest = sorted(seconds, key=seconds.__getitem__, reverse=True)[:3]
    parts = ", ".join(f"{stage} {duration(seconds[stage])}" for stage in longest)
    return f"{duration(sum(seconds.values()))} ({parts})"
