"""The stage's side of supervision: exits with the supervisor, holds the stage lock, sends the record."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks.core.errors import RootstockError
from tasks.core.files import make_private, read_json, write_json
from tasks.core.messages import SUPERVISED, FailureMessage, RecordMessage, send
from tasks.core.paths import Paths

EXIT_ORPHANED = 70
HOW = ("width", "device", "precision", "compiled")  # of features' report: how rows were computed
LOCK_WAIT = 10.0  # seconds; the orphaned stage of a killed run exits within two


def watch_supervisor() -> None:
    """Makes a supervised process exit when standard input closes, that is, when its supervisor dies."""
    if SUPERVISED in os.environ:
        exit_at_end_of_input()


def exit_at_end_of_input() -> None:
    """Starts a thread that exits the process as soon as standard input closes."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(EXIT_ORPHANED)

    threading.Thread(target=wait, daemon=True).start()


def is_first() -> bool:
    """Returns whether this process locks and reports: rank 0 of torchrun, or any process outside of torchrun."""
    return not torchrun_size() or os.environ["RANK"] == "0"


def torchrun_size() -> int:
    """Returns the number of processes that torchrun started, 0 outside of torchrun."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


@contextmanager
def stage_lock(state: Path) -> Iterator[None]:
    """Holds the lock that allows one running stage per checkout. Raises RootstockError if another stage holds it."""
    make_private(state)
    try:
        with FileLock(state / "stage.lock", timeout=LOCK_WAIT):
            yield
    except Timeout:
        raise RootstockError(
            f"another stage is running in this checkout (it holds {state}/stage.lock); wait until it ends",
            key="stage-locked",
        ) from None


def record(
    paths: Paths, stage: str, seconds: float, report: dict[str, Any], basis: Callable[[], dict[str, Any]]
) -> None:
    """Sends the record of a completed stage, and writes it to `paths.report(stage)`.

    The file keeps the cost of the stage's last computation, even without a supervisor, such as under `dvc repro`.
    `basis` returns what the cost was measured with, the images and parameters; without it, nothing is estimated.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    message = RecordMessage(os.environ.get(SUPERVISED), stage, seconds, peak, report)
    write_json(paths.report(stage), asdict(message))
    with suppress(OSError, ValueError):
        _keep_measurement(measured_file(paths, stage), {**asdict(message), **basis()})
    send(message)


def measured_file(paths: Paths, stage: str) -> Path:
    """Returns the file with what a stage took, from which `flows/estimates/` estimates what it will take."""
    return paths.report(stage).parent / "measured" / f"{stage}.json"


def _keep_measurement(file: Path, new: dict[str, Any]) -> None:
    """Writes a measurement, unless the last one is of at least twice as many images or rows, computed in the same way.

    The night after a million images may compute ten: what ten took says little about a million.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        last = read_json(file)
        is_alike = all(new["report"].get(name) == last["report"].get(name) for name in HOW)
        if is_alike and 2 * new["done"] <= last["done"]:
            return
    write_json(file, new)


def record_error(stage: str, error: str, key: str, exit_code: int) -> None:
    """Sends the error of a failed stage; a supervisor that runs DVC would otherwise see only DVC's exit code."""
    send(FailureMessage(os.environ.get(SUPERVISED), stage, error, key, exit_code))
