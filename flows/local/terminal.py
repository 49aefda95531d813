"""How a run reaches the terminal: with a live bar for a person who watches, as plain lines in a pipe or a CI job."""

from __future__ import annotations

import os
import sys
import time

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from flows.local.job import Job, duration_text, rate_text

LONG = 120.0  # estimated seconds from which a job's quarters are lines of their own
LABEL = "{:<9}| {}"
WIDEST_BAR = 24
REFRESHES = 8  # per second


class Lines:
    """Plain lines: what the run says, and the quarters of long jobs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, text: str, *, is_warning: bool = False) -> None:
        """Prints a line; warnings are yellow where colors are shown."""
        self._console.print(Text(text, "yellow" if is_warning else ""), soft_wrap=True)

    def progress(self, step: str, job: Job | None, text: str) -> None:
        """Prints a line if a long job has completed another quarter, but not the last one."""
        if job and job.announced < job.quarter < 4 and job.length >= LONG:
            job.announced = job.quarter
            left = f", about {duration_text(job.left)} left" if job.left else ""
            self.line(LABEL.format(step, f"{text}{left}"))

    def stop(self) -> None:
        """Does nothing: every line is complete."""


class Bar(Lines):
    """One live line below the printed ones: step, bar, percentage, what is counted, rate and remaining time."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._step, self._text, self._since = "", "", time.monotonic()
        self._job: Job | None = None
        self._live = Live(
            console=console,
            transient=True,
            refresh_per_second=REFRESHES,
            get_renderable=self._render,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()

    def progress(self, step: str, job: Job | None, text: str) -> None:
        """Changes what the live line shows."""
        if step != self._step:
            self._since = time.monotonic()
        self._step, self._job, self._text = step, job, text

    def stop(self) -> None:
        """Removes the live line."""
        self._live.stop()

    def _render(self) -> Table | str:
        if not self._step:
            return ""
        grid = Table.grid(
            *(Column(no_wrap=True) for _ in range(2)),
            Column(no_wrap=True, justify="right"),
            Column(no_wrap=True, overflow="ellipsis", ratio=1),
            Column(no_wrap=True, justify="right"),
            padding=(0, 1),
            expand=True,
        )
        job = self._job  # read once: this runs in another thread
        grid.add_row(LABEL.format(self._step, "").rstrip(), self._bar(job), *self._cells(job))
        return grid

    def _bar(self, job: Job | None) -> ProgressBar:
        width = min(WIDEST_BAR, max(6, self._console.width // 5))
        return ProgressBar(job.message.total if job else None, job.message.done if job else 0, width=width)

    def _cells(self, job: Job | None) -> tuple[str, Text, str]:
        """Returns the percentage, the text, and rate and remaining time, or the elapsed time if nothing is counted."""
        if not job:
            return "", Text(self._text.partition("\n")[0]), duration_text(time.monotonic() - self._since)
        message, left = job.message, job.left
        ends = rate_text(job.rate)
        if left is not None:
            ends += f" {duration_text(max(left - (time.monotonic() - job.now), 0.0))} left"
        return f"{message.percent}%", Text(f"{message.done} of {message.total} {message.what}"), ends


def view() -> Lines:
    """Returns the view that suits standard output: the bar where a person watches, not in a pipe or a CI job."""
    console = Console(highlight=False, markup=False, emoji=False)
    is_watched = sys.stdout.isatty() and console.is_terminal and not console.is_dumb_terminal
    return Bar(console) if is_watched and not os.environ.get("CI") else Lines(console)
