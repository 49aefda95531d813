"""Log filters: the console shows only a flow's own lines, and user errors appear without a traceback."""

from __future__ import annotations

import logging
from pathlib import Path

from tasks.core.errors import as_user_error

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
ENGINES = {"flow_engine.py", "task_engine.py"}


def plain_errors() -> None:
    """Makes Prefect log only the message of a user error, without a traceback."""
    for name in RUN_LOGGERS:
        logger = logging.getLogger(name)
        if _without_traceback not in logger.filters:
            logger.addFilter(_without_traceback)


def quiet_console() -> None:
    """Hides the Prefect engine's messages (run started, run finished) on the console; the server still gets them."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_not_engine_chatter)


def _without_traceback(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    user_error = as_user_error(error) if error else None
    if user_error:
        record.msg, record.args, record.exc_info = str(user_error), (), None
    return True


def _not_engine_chatter(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO or Path(record.pathname).name not in ENGINES
