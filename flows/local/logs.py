"""Logs of a run: user errors without a traceback, and the events that the terminal shows as lines or as a bar."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tasks.core.errors import as_user_error
from tasks.core.messages import ProgressMessage
from tasks.core.redaction import redact

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
ENGINES = {"flow_engine.py", "task_engine.py", "engine.py"}
EVENT = "rootstock_event"  # attribute of a log record
KEPT = 9  # log files of earlier runs


@dataclass(frozen=True)
class Started:
    """A step has begun."""


@dataclass(frozen=True)
class Detail:
    """A line of a step that the terminal shows only while the step runs; the last one summarizes the step."""


@dataclass(frozen=True)
class Finished:
    """A step has ended well, after a number of seconds."""

    seconds: float


Event = Started | Detail | Finished | ProgressMessage


def as_event(event: Event) -> dict[str, Event]:
    """Returns the `extra` of a log call whose record is this event. Records without an event are lines."""
    return {EVENT: event}


def plain_errors() -> None:
    """Makes Prefect log only the message of a user error, without a traceback, and nothing with credentials."""
    for name in RUN_LOGGERS:
        logger = logging.getLogger(name)
        for each in (_without_traceback, _without_credentials):
            if each not in logger.filters:
                logger.addFilter(each)


def is_line_of_run(record: logging.LogRecord) -> bool:
    """Returns whether a flow or task logged this record, not Prefect's engine and not a library."""
    return record.name in RUN_LOGGERS and Path(record.pathname).name not in ENGINES


def file_handler(file: Path) -> logging.Handler:
    """Returns a handler that writes all records to `file`, with the time; the files of earlier runs are numbered."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFileHandler(file, backupCount=KEPT, encoding="utf-8", delay=True)
    if file.exists():
        handler.doRollover()
    layout = "%(asctime)s %(levelname)-7s %(task_run_name)-9s| %(message)s"
    handler.setFormatter(RedactingFormatter(layout, defaults={"task_run_name": "flow"}))
    return handler


class RedactingFormatter(logging.Formatter):
    """Formats records of any library, and their tracebacks, without the credentials in addresses."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as text."""
        return redact(super().format(record))


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    user_error = as_user_error(error) if error else None
    if user_error:
        record.msg, record.args, record.exc_info = str(user_error), (), None
    return True


def _without_credentials(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    if record.exc_info and not record.exc_text:  # which formatters use instead of the exception
        record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
    return True
