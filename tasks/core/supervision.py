"""The stage's side of supervision: it dies with its supervisor, works alone, and leaves word of what it did."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks.core.errors import RootstockError
from tasks.core.files import write_json
from tasks.core.paths import Paths, PathsParams

SUPERVISED = "ROOTSTOCK_SUPERVISED"  # its value names the run, and comes back in the record
EXIT_ORPHANED = 70
LOCK_WAIT = 10.0  # seconds: an orphan of a killed run dies within two


def watch_supervisor() -> None:
    """Under supervision, exits as soon as standard input ends: the supervisor holds its other end."""
    if SUPERVISED in os.environ:
        exit_at_end_of_input()


def exit_at_end_of_input() -> None:
    """From now on this process ends, at once, when its standard input does."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=wait, daemon=True).start()


def is_first() -> bool:
    """Whether this is the first of torchrun's processes, or none of them: it locks, and leaves word, for all."""
    return not torchrun_size() or os.environ["RANK"] == "0"


def torchrun_size() -> int:
    """How many processes torchrun started; 0 where it started none."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


@contextmanager
def stage_lock(state: Path) -> Iterator[None]:
    """Holds the lock that keeps two stages of one checkout apart. Raises RootstockError if another has it."""
    state.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(state / "stage.lock", timeout=LOCK_WAIT):
            yield
    except Timeout:
        raise RootstockError(
            f"another stage is at work in this checkout (it holds {state}/stage.lock); wait for it"
        ) from None


def record(paths: Paths, name: str, seconds: float, report: dict[str, Any]) -> None:
    """Leaves the report of a stage that ran, its seconds, its peak memory, and whose run it was."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    entry = {"run": os.environ.get(SUPERVISED), "seconds": seconds, "peak_mib": peak, "report": report}
    write_json(paths.report(name), entry)


def record_error(name: str, message: str, exit_code: int) -> None:
    """Leaves word of why a stage failed, for a supervisor that sees only DVC's exit code."""
    try:
        paths = PathsParams.load().paths
    except RootstockError:
        return  # params.yaml itself is at fault
    entry = {"run": os.environ.get(SUPERVISED), "error": message, "exit_code": exit_code}
    write_json(paths.report(name), entry)
