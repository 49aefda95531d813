"""Reads files to predict for: any of them may be missing, unreadable or named as no file system allows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def state_of(root: Path, files: Iterable[str]) -> list[tuple[str, int, int]]:
    """Returns the name, size and mtime of each file; an interrupted prediction resumes only if none has changed."""
    state = []
    for name in files:
        file = root / name
        status = file.stat() if is_there(file) else None
        state.append((name, status.st_size if status else -1, status.st_mtime_ns if status else -1))
    return state


def is_there(file: Path) -> bool:
    """Returns whether `file` is a file; False for a path that cannot exist on any file system."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def bytes_of(file: Path) -> bytes:
    """Returns a file's bytes; empty if it cannot be read, so that it is listed as broken."""
    try:
        return file.read_bytes()
    except (OSError, ValueError):  # ValueError: a path that no file system allows
        return b""


def without_bytes(file: Path) -> str:
    """Returns why a file has no bytes to decode; an empty text if it has some."""
    if not is_there(file):
        return "file not found"
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    return ""
