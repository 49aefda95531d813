"""Unpacks untrusted zip and tar archives: no paths outside of the folder, no links out of it, no archive bombs."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from tasks.core.errors import FULL, DataRefusedError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
TABLE_SUFFIXES = {".csv", ".tsv", ".jsonl", ".parquet", ".gz"}
CHUNK = 2**20  # bytes
MAX_MEMBERS = 10_000_000
GIB = 2**30
BROKEN: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)
BROKEN += (ValueError, LookupError, EOFError, OSError, RuntimeError, OverflowError)


class Member(NamedTuple):
    """A file in an archive: its name and its content, which must be read before the next member."""

    name: str
    content: IO[bytes]


def is_archive(path: Path) -> bool:
    """Returns whether the file name has the suffix of a zip or tar archive."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, max_gib: float) -> Path:
    """Unpacks into `folder`, which must not exist, and returns it, or the single top-level folder in it.

    Raises DataRefusedError, and leaves no files, if the archive is damaged or encrypted, contains links or devices,
    has paths outside of `folder`, or unpacks to more than `max_gib` GiB; and OSError if the disk is full.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    remaining = max_gib * GIB
    try:
        for count, member in enumerate(_members(archive)):
            if count > MAX_MEMBERS:
                raise DataRefusedError(f"{archive}: more than {MAX_MEMBERS} files", key="archive-members")
            remaining = _write(member, beside / _inside(archive, member.name), remaining)
            if remaining < 0:
                raise DataRefusedError(
                    f"data.archive_limit: {archive} unpacks to more than {max_gib:g} GiB; raise the limit",
                    key="data.archive_limit",
                )
        beside.mkdir(parents=True, exist_ok=True)
        beside.rename(folder)
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise DataRefusedError(f"{archive} cannot be unpacked: {error}", key="archive-damaged") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return single_folder(folder)


def listed_bytes(archive: Path) -> int:
    """Returns the bytes of the files that a zip archive lists; 0 for others, and for one that cannot be read."""
    try:
        if not _is_zip(archive):
            return 0
        with zipfile.ZipFile(archive) as opened:
            return sum(entry.file_size for entry in opened.infolist())
    except BROKEN:
        return 0


def single_folder(folder: Path) -> Path:
    """Returns the innermost of single folders, each alone in the one around it, or `folder` if it holds more.

    A folder that holds neither folders nor a table is a class, and is not entered.
    """
    while len(inside := _visible(folder)) == 1 and inside[0].is_dir() and _may_be_source(inside[0]):
        folder = inside[0]
    return folder


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]


def _may_be_source(folder: Path) -> bool:
    return any(path.is_dir() or path.suffix.lower() in TABLE_SUFFIXES for path in _visible(folder))


def _members(archive: Path) -> Iterator[Member]:
    yield from (_zip_members if _is_zip(archive) else _tar_members)(archive)


def _is_zip(archive: Path) -> bool:
    return zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive)  # a tar may end with a zip


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            if not entry.filename:
                raise _no_name(archive)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise _not_a_file(archive, entry.filename)
            if not entry.is_dir():
                with opened.open(entry) as content:
                    yield Member(entry.filename, content)


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive, "r:*") as opened:
        for entry in opened:
            if not (entry.isfile() or entry.isdir() or entry.islnk()):
                raise _not_a_file(archive, entry.name)
            try:
                content = opened.extractfile(entry)  # of a hard link: an earlier member's
            except KeyError:
                raise _not_a_file(archive, entry.name) from None
            if content is not None:
                yield Member(entry.name, content)
        _read_to_the_end(opened)


def _not_a_file(archive: Path, name: str) -> DataRefusedError:
    return DataRefusedError(f"{archive}: {name} is a link or a device; remove it from the archive", key="archive-link")


def _no_name(archive: Path) -> DataRefusedError:
    return DataRefusedError(f"{archive}: an entry has no name; make the archive again", key="archive-path")


def _read_to_the_end(opened: tarfile.TarFile) -> None:
    """Raises tarfile.ReadError unless a block of zeros ends the archive: tarfile treats a damaged header as the end.

    The rest of the file is read as well, since gzip's checksum comes last.
    """
    file = cast("IO[bytes]", opened.fileobj)
    file.seek(opened.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is damaged or truncated")
    while file.read(CHUNK):
        pass


def _inside(archive: Path, name: str) -> Path:
    """Returns the member's relative path. Raises DataRefusedError if the path points outside of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
        raise DataRefusedError(
            f"{archive}: the path {name} leads out of the folder; such archives are not unpacked", key="archive-path"
        )
    return Path(path)


def _write(member: Member, target: Path, remaining: float) -> float:
    """Writes a member. Returns the remaining byte budget, negative if the limit has been exceeded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while remaining >= 0 and (chunk := member.content.read(CHUNK)):
            remaining -= len(chunk)
            file.write(chunk)
    return remaining
