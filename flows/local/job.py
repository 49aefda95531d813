"""The pace of a job, computed from its progress messages."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.core.messages import ProgressMessage

QUARTER = 25  # percent
MINUTE, HOUR = 60.0, 3600.0  # seconds


@dataclass
class Job:
    """Work that a step reports progress of: its last message, and the times of its start and of that message."""

    message: ProgressMessage
    began: float
    now: float
    base: int = 0  # items done at the start, such as the epochs before a resumed fit
    announced: int = 0  # quarters that have been shown

    def advance(self, message: ProgressMessage, now: float) -> bool:
        """Takes the next message; returns False, and takes nothing, if it is of another job."""
        if message.total != self.message.total or message.done < self.message.done:
            return False
        if self.base == 0:  # from the second message on, the pace is measured from the first: a fit may be resumed
            self.base, self.began = self.message.done, self.now
        self.message, self.now = message, now
        return True

    @property
    def quarter(self) -> int:
        """Returns how many quarters are complete."""
        return self.message.percent // QUARTER

    @property
    def rate(self) -> float:
        """Returns the items per second; 0 if that is unknown."""
        elapsed = self.now - self.began
        return (self.message.done - self.base) / elapsed if elapsed > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Returns the estimated remaining time in seconds, or None if it is unknown."""
        return (self.message.total - self.message.done) / self.rate if self.rate > 0 else None

    @property
    def length(self) -> float:
        """Returns the estimated duration of the whole job in seconds, 0 if it is unknown."""
        return self.message.total / self.rate if self.rate > 0 else 0.0


def rate_text(rate: float) -> str:
    """Returns a rate per second as text; slow ones as the time that one item takes."""
    if rate <= 0:
        return ""
    return f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 1 else f"{duration_text(1 / rate)} each"


def duration_text(seconds: float) -> str:
    """Returns a duration as text, in seconds, minutes or hours."""
    if seconds < 1.5 * MINUTE:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 1.5 * HOUR else f"{seconds / HOUR:.1f} h"
