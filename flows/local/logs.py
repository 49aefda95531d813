"""What people see of a flow: its lines, without Prefect's own; a user's mistake without a traceback."""

from __future__ import annotations

import logging
from pathlib import Path

from tasks.core.errors import as_user_error

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
ENGINES = {"flow_engine.py", "task_engine.py"}


def plain_errors() -> None:
    """Makes Prefect log an error that explains itself as its message alone."""
    for name in RUN_LOGGERS:
        logger = logging.getLogger(name)
        if _without_traceback not in logger.filters:
            logger.addFilter(_without_traceback)


def quiet_console() -> None:
    """Leaves Prefect's own lines (that a run begins, that it ended well) to its server."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_not_engine_chatter)


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    known = as_user_error(error) if error else None
    if known:
        record.msg, record.args, record.exc_info = str(known), (), None
    return True


def _not_engine_chatter(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or Path(record.pathname).name not in ENGINES
