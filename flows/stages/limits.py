"""Limits on a stage's time: in total, if there is a limit, and without any sign of work."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from flows.config.parameters import RunSection
from flows.stages.process_group import family

TIMEOUT, STALL = "run.timeout", "run.stall"
IDLE = 0.01  # share of a core below which processes only wait
SAMPLES = 10  # of the processor time, in the time that a stage may be idle
PAUSE = 60.0  # seconds without a look at the child after which this process was paused, and probably the child too


class Watch:
    """Watches a process group: output and the processor time of its processes are signs of work."""

    def __init__(self, group: int, run: RunSection) -> None:
        self._group, self._run = group, run
        self._started = self._last_work = self._sampled = self._looked = time.monotonic()
        self._seconds = 0.0

    def begin_stage(self) -> None:
        """Restarts the clocks."""
        self._started = self._last_work = time.monotonic()

    def note_output(self) -> None:
        """Notes that the child has written something."""
        self._last_work = time.monotonic()

    def exceeded(self) -> str | None:
        """Returns the key of the limit that is exceeded, if one is."""
        now = time.monotonic()
        self._leave_out_pause(now)
        if self._run.timeout is not None and now - self._started > self._run.timeout:
            return TIMEOUT
        if now - self._sampled > self._run.stall / SAMPLES:
            self._sample(now)
        return STALL if now - self._last_work > self._run.stall else None

    def _leave_out_pause(self, now: float) -> None:
        """Moves the clocks on by the time for which this process has been paused, such as by docker pause."""
        pause = now - self._looked
        if pause > PAUSE:
            self._started, self._last_work, self._sampled = (
                clock + pause for clock in (self._started, self._last_work, self._sampled)
            )
        self._looked = now

    def _sample(self, now: float) -> None:
        seconds = _processor_seconds(self._group)
        if abs(seconds - self._seconds) > IDLE * (now - self._sampled):  # less if a process of the family has ended
            self._last_work = now
        self._seconds, self._sampled = seconds, now


def message(stage: str, exceeded: str, run: RunSection) -> str:
    """Returns the error message for a stage that was stopped because of a limit."""
    if exceeded == STALL:
        return (
            f"{stage} was stopped: it wrote nothing and used no processor for {run.stall:g} seconds (run.stall); is a "
            "disk or a network folder out of reach?"
        )
    return f"{stage} took longer than {run.timeout:g} seconds (run.timeout) and was stopped"


def _processor_seconds(group: int) -> float:
    """Returns the processor time of the processes of a group and their descendants, in seconds."""
    seconds = 0.0
    for member in family(group):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            seconds += times.user + times.system
    return seconds
