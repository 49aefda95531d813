"""Atomic file writes (to a temporary file that is then renamed), JSON, and digests."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core.errors import DamagedFileError

_UMASK = os.umask(0)
os.umask(_UMASK)
MODE = 0o666 & ~_UMASK


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; the file written there replaces `path` unless the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{_unique()}.tmp")
    try:
        yield beside
        beside.chmod(MODE)  # some writers, such as safetensors, create files that only the owner can read
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _unique() -> str:
    """Returns digits that no other process has, not even on another machine that writes to the same folder."""
    return f"{os.getpid()}{secrets.randbelow(10**9):09}"


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`, which it replaces unless the block raises."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(beside)
    beside.mkdir(parents=True)
    try:
        yield beside
        remove(path)
        beside.replace(path)
    finally:
        remove(beside)


def make_private(folder: Path) -> bool:
    """Creates a folder that only its owner can read, or also the group that shares the parent by its setgid bit.

    Returns whether it did: a folder that exists keeps its mode.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if folder.is_dir():
            return False
        raise
    if folder.stat().st_mode & stat.S_ISGID:  # Linux passes the bit on to new folders
        folder.chmod(0o2770)
    return True


def put_aside(source: Path, target: Path) -> None:
    """Moves a file or folder to `target`, replacing what is there. Does nothing if `source` does not exist."""
    if not source.exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)


def linked(source: Path, target: Path) -> bool:
    """Returns whether `target` is now a hard link to `source`, which not every file system supports."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with its contents, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` in UTF-8, atomically."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON-serializable value
    """Writes `value` to `path` as indented JSON, atomically. Non-ASCII characters are not escaped."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Returns the parsed contents of a JSON file. Raises DamagedFileError, a ValueError, if it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(
            f"{path} is damaged ({error}); restore it with git or dvc checkout, or remove it if it is in .state",
            key="file-damaged",
        ) from None


def sha256_of(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
