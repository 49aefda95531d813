"""The stage's side of supervision: it dies with its supervisor, works alone, and reports what it did."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks.core.errors import RootstockError
from tasks.core.files import write_json
from tasks.core.messages import SUPERVISED, FailureMessage, RecordMessage, send
from tasks.core.paths import Paths

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


def record(paths: Paths, stage: str, seconds: float, report: dict[str, Any]) -> None:
    """Sends the record of a stage that was computed, and keeps it as a file.

    The file says when and at what cost each stage was last computed, also where nobody supervised: after `dvc repro`.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    message = RecordMessage(os.environ.get(SUPERVISED), stage, seconds, peak, report)
    write_json(paths.report(stage), asdict(message))
    send(message)


def record_error(stage: str, error: str, exit_code: int) -> None:
    """Sends why a stage failed, since a supervisor sees only DVC's exit code."""
    send(FailureMessage(os.environ.get(SUPERVISED), stage, error, exit_code))
