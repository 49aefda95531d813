from __future__ import annotations

import io
import logging

from flows.local.logs import RUN_LOGGERS, plain_errors
from tasks.core.errors import RootstockError


def test_an_error_that_explains_itself_has_no_traceback_and_others_do():
    stream = io.StringIO()
    logger = logging.getLogger(RUN_LOGGERS[0])
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    plain_errors()
    try:
        for error in (RootstockError("do this instead", key="x"), KeyError("bug")):
            try:
                raise error
            except Exception:
                logger.exception("a message of the engine")
    finally:
        logger.removeHandler(handler)
    output = stream.getvalue()
    assert output.startswith("do this instead\na message of the engine\nTraceback")
    assert output.count("Traceback") == 1
