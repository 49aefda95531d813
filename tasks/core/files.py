"""Files are written beside and renamed, so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_UMASK = os.umask(0)
os.umask(_UMASK)
MODE = 0o666 & ~_UMASK


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path`; what was written there replaces `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield beside
        beside.chmod(MODE)  # some writers, such as safetensors, leave their files to the owner alone
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def put_aside(left: Path, kept: Path) -> None:
    """Moves a file or folder to where the last one of its kind was put aside; nothing happens if there is none."""
    if not left.exists():
        return
    shutil.rmtree(kept, ignore_errors=True)
    kept.unlink(missing_ok=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(left, kept)


def write_text(path: Path, text: str) -> None:
    """Replaces `path` by `text` in one step."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Replaces `path` by `value` as indented JSON, non-ASCII kept."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """The value that a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
