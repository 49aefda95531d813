"""Errors that a user can mend: shown as one message, never as a traceback."""

from __future__ import annotations

import errno

EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3  # the gate refused the model
EXIT_UNDECIDED = 4  # the test images are too few for the gate to tell
EXIT_DATA_REFUSED = 5


class RootstockError(Exception):
    """Something is wrong that the message explains: what, where, and what to do."""

    exit_code = EXIT_BROKEN


class ParamsError(RootstockError):
    """A value in params.yaml or on the command line is not usable."""

    exit_code = EXIT_USAGE


class DataRefusedError(RootstockError):
    """The data failed a critical check; nothing was trained on it."""

    exit_code = EXIT_DATA_REFUSED


def told(error: BaseException) -> RootstockError | None:
    """The error as one that a user can mend, if it is one: also a full disk is."""
    if isinstance(error, RootstockError):
        return error
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return RootstockError(f"the disk is full ({error}); free some; make clean removes what can be made again")
    return None
