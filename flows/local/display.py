"""What the terminal shows of a run: its steps, warnings and progress. Everything else goes to the run's log file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.local.job import Job, duration_text
from flows.local.logs import EVENT, Detail, Event, Finished, Started, file_handler, is_line_of_run
from flows.local.terminal import LABEL, Lines, view
from tasks.core.messages import WARNING, ProgressMessage

SPOKEN = {"source", "ingest"}  # steps all of whose lines are shown: they are about the user's data
INTERNAL = "prefect._internal"  # a logger that passes nothing on: events that could not be sent
FLOW = "flow"  # the name of what happens outside of steps


class TerminalHandler(logging.Handler):
    """Shows the lines, warnings and progress of a run's steps; the engine's and libraries' records are left out."""

    def __init__(self, view: Lines) -> None:
        super().__init__()
        self._view = view
        self._summary: dict[str, str] = {}  # the last line of each running step
        self._job: Job | None = None
        self._last = time.monotonic()  # when the last record came

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one record."""
        if is_line_of_run(record):
            try:
                self._show(getattr(record, "task_run_name", FLOW), record.getMessage(), record)
                self._last = time.monotonic()
            except Exception:  # as logging's own handlers do: a run goes on where a line cannot be shown
                self.handleError(record)

    def _show(self, step: str, text: str, record: logging.LogRecord) -> None:
        event: Event | None = getattr(record, EVENT, None)
        if record.levelno >= logging.WARNING:
            self._say_last(step)
            self._view.line(LABEL.format(step, WARNING + text.removeprefix(WARNING)), is_warning=True)
        elif isinstance(event, ProgressMessage):
            self._progress(step, event)
        elif isinstance(event, Started):
            self._start(step)
        elif isinstance(event, Detail):
            self._detail(step, text)
        elif isinstance(event, Finished):
            self._finish(step, f"{self._summary.pop(step, 'computed')} ({duration_text(event.seconds)})")
        else:
            self._say_last(step)
            self._finish(step, text)

    def _start(self, step: str) -> None:
        self._summary.pop(step, None)
        self._job = None
        self._view.progress(step, None, "")

    def _detail(self, step: str, text: str) -> None:
        self._say_last(step)
        self._summary[step] = text
        self._view.progress(step, None, text)

    def _say_last(self, step: str) -> None:
        """Prints the step's last line, which is then not its summary, if all its lines are shown."""
        if step in SPOKEN and step in self._summary:
            self._view.line(LABEL.format(step, self._summary.pop(step)))

    def _progress(self, step: str, message: ProgressMessage) -> None:
        now = time.monotonic()
        if not self._job or not self._job.advance(message, now):
            self._job = Job(message, self._last, now)
        self._view.progress(step, self._job, str(message))

    def _finish(self, step: str, text: str) -> None:
        self._job = None
        self._view.progress("", None, "")
        self._view.line(text if step == FLOW else LABEL.format(step, text))


@contextmanager
def display(file: Path) -> Iterator[None]:
    """Shows a run on the terminal, and logs everything to `file`. If the run fails, prints where that is."""
    root, internal = logging.getLogger(), logging.getLogger(INTERNAL)
    before = root.handlers
    shown = view()
    shown.progress("prefect", None, "starting")
    handlers = [TerminalHandler(shown), file_handler(file)]
    root.handlers, internal.handlers = list(handlers), handlers[1:]
    try:
        yield
    except Exception:
        shown.stop()
        if file.exists():
            print(details(file), flush=True)
        raise
    finally:
        shown.stop()  # not when the handler is closed: a library that configures logging closes all handlers
        root.handlers = before
        internal.handlers = [logging.NullHandler()]  # it would speak when the process exits
        for handler in handlers:
            handler.close()


def details(file: Path) -> str:
    """Returns the line that names the run's log."""
    return f"details     {file}"
