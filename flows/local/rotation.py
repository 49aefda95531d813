"""Rotation of logs that other processes hold open."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

LIMIT = 10 * 2**20  # bytes
KEPT = 3  # earlier logs


def rotate(file: Path, limit: int = LIMIT) -> bool:
    """Copies a log over `limit` bytes to FILE.1 and empties it. Returns whether it did.

    Its writers must have opened it for appending, so that they go on at the new end. What they write between the copy
    and the cut is lost, as with logrotate's `copytruncate`.
    """
    if not file.exists() or file.stat().st_size <= limit:
        return False
    for number in range(KEPT - 1, 0, -1):
        if (older := numbered(file, number)).exists():
            older.replace(numbered(file, number + 1))
    shutil.copyfile(file, numbered(file, 1))
    os.truncate(file, 0)
    return True


def numbered(file: Path, number: int) -> Path:
    """Returns the path of an earlier log; 1 is the newest."""
    return file.with_name(f"{file.name}.{number}")
