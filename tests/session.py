"""What the workers of one test session share: a folder, what is built in it once, and what ends with the session."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
from filelock import FileLock

VARIABLE = "ROOTSTOCK_TEST_SESSION"
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if not WORKER:  # the workers of pytest-xdist inherit it from the process that starts them
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="rootstock-tests-")
FOLDER = Path(os.environ[VARIABLE])
HOME = FOLDER / (WORKER or "main")  # databases of this worker's own
LIFELINE = FOLDER / "lifeline"  # a pipe: whose standard input it is reads the end of it when the session ends


def begin() -> int:
    """Opens the lifeline, in the process that starts the workers. Its end, however it ends, closes it."""
    os.mkfifo(LIFELINE)
    return os.open(LIFELINE, os.O_RDWR)  # for reading alone it would wait for a writer


def end(lifeline: int) -> None:
    """Closes the lifeline, waits for the processes that hang on it, and removes the folder."""
    os.close(lifeline)
    pids = [int(file.read_text()) for file in FOLDER.glob("*.pid")]
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    shutil.rmtree(FOLDER, ignore_errors=True)


def once(name: str, build: Callable[[], str]) -> str:
    """Returns what `build` returns in the first worker that asks; the others wait for it."""
    file = FOLDER / f"{name}.txt"
    with FileLock(FOLDER / f"{name}.lock"):
        if not file.exists():
            file.write_text(build())
    return file.read_text()


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns size and time of change of each file below a folder, by its path."""
    stats = {str(path): path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()}
