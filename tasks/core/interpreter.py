"""Runs a command in this process without two costs of Python that exceed the work of a small run.

Heavy packages create millions of objects that stay: while they are imported, the garbage collector would look at them
again and again. When the process ends, Python would take them apart one by one; the kernel does it at once.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

IMPORTING = 100_000  # new objects between two collections while packages are imported
USUAL = gc.get_threshold()


def run(command: Callable[[], int]) -> NoReturn:
    """Runs a command, waits for its threads, calls all exit handlers, and exits with the code that it returned."""
    begin_imports()
    try:
        code = command()
    finally:
        gc.unfreeze()  # if Python ends in its own way, extension modules would report the frozen as leaks
    end(code)


def end(code: int) -> NoReturn:
    """Ends this process as Python would, without taking its objects apart."""
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - the three steps of Python's own end
    atexit._run_exitfuncs()  # noqa: SLF001
    with suppress(OSError):  # an output that cannot be written to: Python's own end says so
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def begin_imports() -> None:
    """Collects garbage rarely from now on."""
    gc.set_threshold(IMPORTING, *USUAL[1:])


def end_of_imports() -> None:
    """Collects garbage as often as usual from now on, and never again looks at what is there, if `run` runs this."""
    if gc.get_threshold()[0] == IMPORTING:
        gc.freeze()
        gc.set_threshold(*USUAL)
