"""Zip and tar archives, unpacked without trusting them: no path out of the folder, no links, no bombs."""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from tasks.core.errors import DataRefusedError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CHUNK = 2**20  # bytes
MOST_MEMBERS = 10_000_000
GIB = 2**30
BROKEN: tuple[type[Exception], ...] = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
BROKEN += (UnicodeDecodeError, EOFError, OSError, RuntimeError)


class Member(NamedTuple):
    """A file in an archive: its name, and how to read it."""

    name: str
    content: IO[bytes]


def is_archive(path: Path) -> bool:
    """Whether the name is that of a zip or tar archive."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, most_gib: float) -> Path:
    """Unpacks into `folder`, which must not exist, and returns it, or the single folder that everything in it lies in.

    Raises DataRefusedError, and leaves nothing, for an archive that is broken or encrypted, holds links or devices,
    names a place outside, or unpacks to more than `most_gib` GiB.
    """
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    left = most_gib * GIB
    try:
        for count, member in enumerate(_members(archive)):
            if count > MOST_MEMBERS:
                raise DataRefusedError(f"{archive}: more than {MOST_MEMBERS} files")
            left = _write(member, beside / _inside(archive, member.name), left)
            if left < 0:
                raise DataRefusedError(f"{archive} unpacks to more than {most_gib:g} GiB (data.archive_limit)")
        beside.mkdir(parents=True, exist_ok=True)
        beside.rename(folder)
    except BROKEN as error:
        raise DataRefusedError(f"{archive} cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return single_folder(folder)


def single_folder(folder: Path) -> Path:
    """The folder itself, or the one that everything in it lies in."""
    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _members(archive: Path) -> Iterator[Member]:
    is_zip = zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive)  # a tar may end with a zip
    yield from (_zip_members if is_zip else _tar_members)(archive)


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                raise DataRefusedError(f"{archive}: {entry.filename} is a link or a device; only files are taken")
            if not entry.is_dir():
                with opened.open(entry) as content:
                    yield Member(entry.filename, content)


def _tar_members(archive: Path) -> Iterator[Member]:
    with tarfile.open(archive, "r:*") as opened:
        for entry in opened:
            if not (entry.isfile() or entry.isdir()):
                raise DataRefusedError(f"{archive}: {entry.name} is a link or a device; only files are taken")
            content = opened.extractfile(entry)
            if content is not None:
                yield Member(entry.name, content)
        _read_to_the_end(opened)


def _read_to_the_end(opened: tarfile.TarFile) -> None:
    """Raises tarfile.ReadError if no block of zeros ends the archive: tarfile takes a broken header for its end.

    The rest is read too, since gzip's checksum comes last.
    """
    file = cast("IO[bytes]", opened.fileobj)
    file.seek(opened.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is damaged, or ends too early")
    while file.read(CHUNK):
        pass


def _inside(archive: Path, name: str) -> Path:
    """The member's name as a path below the folder. Raises DataRefusedError if it leads outside."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
        raise DataRefusedError(f"{archive}: {name} leads out of the folder; such an archive is not unpacked")
    return Path(path)


def _write(member: Member, target: Path, left: float) -> float:
    """Writes a member; how many bytes more may be written, negative as soon as it is too much."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while left >= 0 and (chunk := member.content.read(CHUNK)):
            left -= len(chunk)
            file.write(chunk)
    return left
