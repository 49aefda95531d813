"""Outages of the MLflow store in the middle of a run: what cannot be logged waits, and the stages go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flows.registry.store import VARIABLE
from tasks.core.errors import RootstockError, as_user_error
from tasks.core.redaction import redact

PAUSE = 30.0  # seconds without another attempt after a failed one, during a stage
WAIT = 600.0  # longest wait for the store, in seconds, where nothing can be done without it
STEP = 5.0  # seconds between attempts while waiting
QUICK = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # by default, minutes
OUTAGES = {"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}  # MLflow's codes, also of databases
REFUSED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"}
KEPT = "finished stages are kept, and the next run goes on from them"
AGAIN = "nothing is lost; try again when it answers"


def failures() -> tuple[type[Exception], ...]:
    """Returns the exceptions of a store that cannot be used: a server or a database."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


@contextmanager
def quick_requests() -> Iterator[None]:
    """Lets requests to a server fail within seconds inside the block."""
    before = {name: os.environ.get(name) for name in QUICK}
    os.environ |= QUICK
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}


@contextmanager
def explained(advice: str = KEPT) -> Iterator[None]:
    """Raises RootstockError where the block fails because the store cannot be reached or refuses access."""
    try:
        yield
    except failures() as error:
        if not (is_outage(error) or _code(error) in REFUSED):
            raise
        raise unreachable(error, advice) from None


def is_outage(error: Exception) -> bool:
    """Returns whether another attempt may succeed."""
    if as_user_error(error):  # such as a full disk, which MLflow calls temporary
        return False
    return isinstance(error, ConnectionError) or _code(error) in OUTAGES or "API request to " in str(error)


def _code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))


def unreachable(error: Exception, advice: str = KEPT) -> RootstockError:
    """Returns the error for the user: the reason, and that nothing is lost."""
    reason = str(error).partition("\n")[0]
    return RootstockError(f"{VARIABLE}: MLflow cannot be used ({reason}); {advice}", key="mlflow-unreachable")


def _error_of(write: Callable[[], object]) -> Exception | None:
    """Calls `write`. Returns the error if the store cannot be used, else None."""
    try:
        with quick_requests():
            write()
    except failures() as error:
        return error
    return None


class Attempts:
    """Attempts to write to the store: none for a while after one that failed; outages are said once."""

    def __init__(self, warn: Callable[[str], object]) -> None:
        self._warn = warn
        self._resume = 0.0  # on the monotonic clock
        self._is_out = False

    def attempt(self, write: Callable[[], object]) -> bool:
        """Calls `write`, unless the store did not answer a moment ago. Returns whether it succeeded."""
        if time.monotonic() < self._resume:
            return False
        error = _error_of(write)
        if error:
            self._fail(error)
        elif self._is_out:
            self._warn("MLflow answers again; what it missed is logged now")
            self._is_out = False
        return error is None

    def insist(self, write: Callable[[], object], wait: float = WAIT) -> None:
        """Calls `write` until it succeeds. Raises RootstockError after `wait` seconds without an answer."""
        deadline = time.monotonic() + wait
        while error := _error_of(write):
            if not is_outage(error):
                raise error
            if time.monotonic() + STEP > deadline:
                raise unreachable(error)
            self._fail(error)
            time.sleep(STEP)
        self._is_out, self._resume = False, 0.0

    def _fail(self, error: Exception) -> None:
        if not self._is_out:
            reason = redact(str(error).partition("\n")[0])
            self._warn(f"MLflow does not answer; the run goes on, and logs what is missing later: {reason}")
        self._is_out, self._resume = True, time.monotonic() + PAUSE
