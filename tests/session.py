"""State shared by the workers of one test session: a folder, artifacts built once, and processes to end with it."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
from filelock import FileLock

VARIABLE = "ROOTSTOCK_TEST_SESSION"
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if not WORKER:  # pytest-xdist workers inherit it from the process that starts them
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="rootstock-tests-")
FOLDER = Path(os.environ[VARIABLE])
HOME = FOLDER / (WORKER or "main")  # this worker's own databases
LIFELINE = FOLDER / "lifeline"  # a pipe: processes with it as standard input read EOF when the session ends


def begin() -> int:
    """Opens the lifeline in the process that starts the workers; it closes when that process ends for any reason."""
    os.mkfifo(LIFELINE)
    return os.open(LIFELINE, os.O_RDWR)  # opening it only for reading would wait for a writer


def end(lifeline: int) -> None:
    """Closes the lifeline, waits for the processes that depend on it, and removes the folder."""
    os.close(lifeline)
    pids = [int(file.read_text()) for file in FOLDER.glob("*.pid")]
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    shutil.rmtree(FOLDER, ignore_errors=True)


def once(name: str, build: Callable[[], str]) -> str:
    """Returns the result of `build`, run by the first worker that calls this; other workers wait for it."""
    file = FOLDER / f"{name}.txt"
    with FileLock(FOLDER / f"{name}.lock"):
        if not file.exists():
            file.write_text(build())
    return file.read_text()


def auth_string() -> str:
    """Returns the auth string of the session's Prefect server."""
    return once("auth", lambda: f"rootstock:{secrets.token_urlsafe()}")


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns the size and mtime of each file below a folder, by path."""
    stats = {str(path): path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}
