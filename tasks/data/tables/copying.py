"""Copies a table and its images into one folder for ingest."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from tasks.core.digest import code_digest
from tasks.core.errors import DataRefusedError
from tasks.core.files import linked, replacing, write_text
from tasks.core.progress import say
from tasks.core.schema import TABLE, Column
from tasks.data.tables.cells import listed
from tasks.data.tables.locations import is_there
from tasks.data.tables.options import TableOptions
from tasks.data.tables.table import read_table


def bring_together(file: Path, folder: Path, options: TableOptions | None = None, *, trusted: bool = True) -> Path:
    """Copies the table and its images into `folder`, unless the existing copy is up to date. Returns `folder`.

    Missing files are skipped; ingest lists them. A table that is not `trusted` was unpacked or downloaded, with its
    images: these are linked. Raises DataRefusedError if all are missing, or if such a table names a file outside of its
    folder.
    """
    table, written = read_table(file, options)
    sources = [file.parent / path for path in table[Column.PATH]]
    _check_outside(file, sources, written, trusted=trusted)
    is_missing = [not is_there(source) for source in sources]
    _check_missing(file, written, is_missing)
    names = _names(table[Column.PATH], is_missing)
    reasons = ("the file cannot be read: no file " + written).where(pd.Series(is_missing), None)
    note, asked = folder.with_name(f"{folder.name}.sha256"), (options, code_digest(__name__))
    now = _digest([file, *sources], asked)
    if folder.exists() and note.exists() and note.read_text(encoding="utf-8") == now:
        return folder
    if any(is_missing):
        table = table.assign(**{Column.QUARANTINE: reasons.astype("string")})
    _copy_all(file, table.assign(**{Column.PATH: names}), sources, folder, by_link=not trusted)
    write_text(note, now)
    return folder


def _check_outside(file: Path, sources: Sequence[Path], written: pd.Series, *, trusted: bool) -> None:
    if trusted:
        return
    outside = [not source.resolve().is_relative_to(file.parent.resolve()) for source in sources]
    if any(outside):
        raise DataRefusedError(
            f"data.source: {file} names files outside of its archive: {listed(list(written[outside]))}",
            key="table-outside",
        )


def _check_missing(file: Path, written: pd.Series, is_missing: Sequence[bool]) -> None:
    """Raises DataRefusedError if no file of the table exists, and says which ones do not."""
    missing = list(written[list(is_missing)])
    if len(missing) == len(written):
        raise DataRefusedError(
            f"data.source: {file}: no file that it names exists: {listed(missing)}; paths are relative to "
            f"{file.parent.resolve()}{_hint(file, missing[0])}",
            key="table-no-files",
        )
    if missing:
        say(f"{file.name}: {len(missing)} of {len(written)} files do not exist: {listed(missing)}")


def _hint(file: Path, path: str) -> str:
    """Returns the part of a missing path that exists next to the table."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    for start in range(1, len(parts)):
        if is_there(file.parent.joinpath(*parts[start:])):
            return f", where there is {'/'.join(parts[start:])}: leave out what stands before it"
    return ""


def _names(paths: pd.Series, is_missing: Sequence[bool]) -> list[str]:
    """Returns the path of each copy inside the folder; different for each row."""
    names = [_readable(path) if gone else _name(path) for path, gone in zip(paths, is_missing, strict=True)]
    repeated = pd.Series(names).duplicated(keep=False)
    return [_name(path) if twice else name for path, name, twice in zip(paths, names, repeated, strict=True)]


def _name(path: str) -> str:
    """Returns the same path, or a unique name for a path that points outside of the folder."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() and ".." not in pure.parts:
        return str(pure)
    return f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{pure.name}"


def _readable(path: str) -> str:
    """Returns a missing path without what leads out of the folder."""
    pure = PurePosixPath(path)
    return str(PurePosixPath(*(part for part in pure.parts if part not in {pure.anchor, ".."})))


def _copy_all(file: Path, table: pd.DataFrame, sources: Sequence[Path], folder: Path, *, by_link: bool) -> None:
    """Replaces `folder` with the table and a copy of, or link to, each source, at the path in its row."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    for source, name in zip(sources, table[Column.PATH], strict=True):
        if is_there(source):
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            if not (by_link and linked(source, beside / name)):
                _copy(file, source, beside / name)
    with replacing(beside / TABLE) as target:
        table.to_parquet(target, index=False)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def _copy(table: Path, source: Path, target: Path) -> None:
    try:
        shutil.copy2(source, target)
    except PermissionError:
        raise DataRefusedError(
            f"data.source: {table}: {source} is not readable; change its permissions", key="table-unreadable-image"
        ) from None


def _digest(files: Sequence[Path], asked: object) -> str:
    """Returns the digest of the files' names, sizes and times (names only if missing), and of what was `asked`."""
    facts = [(str(file), (file.stat().st_size, file.stat().st_mtime_ns) if is_there(file) else None) for file in files]
    return hashlib.sha256(repr((facts, asked)).encode()).hexdigest()
