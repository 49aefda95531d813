"""Secrets in files that only their owner can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tasks.core.errors import RootstockError

PRIVATE = 0o600


def create(file: Path, secret: str) -> None:
    """Writes a secret to a new file; one that another process has just made is kept."""
    beside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "w") as new:
        new.write(f"{secret}\n")
    try:
        os.link(beside, file)  # a file that is there is complete, and the first one wins
    except FileExistsError:
        pass
    finally:
        beside.unlink()


def read(file: Path, key: str, remedy: str) -> str:
    """Returns the secret. Raises RootstockError if it cannot be read, or if others may read or change it.

    Raises FileNotFoundError if there is no such file.
    """
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW)) as opened:
            _check_private(os.fstat(opened.fileno()), file, key, remedy)
            return opened.read().strip()
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise RootstockError(f"{file} cannot be read ({error}); {remedy}", key=key) from None


def _check_private(status: os.stat_result, file: Path, key: str, remedy: str) -> None:
    if status.st_uid != os.geteuid():
        raise RootstockError(f"{file} belongs to another user, who could act as you; {remedy}", key=key)
    mode = stat.S_IMODE(status.st_mode)
    if mode & ~PRIVATE:
        raise RootstockError(
            f"{file} has mode {mode:o}, so others may have read it, and who has it can act as you; {remedy}", key=key
        )
