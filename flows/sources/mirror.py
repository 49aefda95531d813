"""A local copy of what a server holds: only new and changed files are downloaded, each beside and then renamed."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from flows.sources.remote import AGAIN, Remote, RemoteFile
from flows.stages.dvc_cli import DvcError
from flows.stages.dvc_versions import cache_folder
from tasks.core.disk import refuse_if_full
from tasks.core.errors import RootstockError
from tasks.core.files import linked, remove
from tasks.core.progress import counted

AT_ONCE = 16  # downloads at the same time
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
PLANNED = 1024  # downloads that are planned at the same time


class Row(NamedTuple):
    """What was downloaded: the size and tag that the server reported, and the size and mtime of the file here."""

    size: int | None
    tag: str
    bytes_here: int
    mtime: int


class Mirror:
    """The files of an address in `folder`/files, and a record of them beside it, which survives `kill -9`."""

    def __init__(self, remote: Remote, folder: Path) -> None:
        self._remote, self._folder, self.files = remote, folder, folder / "files"
        self._cache: Path | None = None  # of DVC, if there is something to download

    def update(self) -> None:
        """Downloads what is new or has changed at the server, and removes what is gone there.

        Raises RootstockError if the server does not answer, if files change meanwhile, or if the disk is too small;
        what was downloaded is kept, and the next call goes on.
        """
        self.files.mkdir(parents=True, exist_ok=True)
        os.utime(self._folder)  # it is in use, so that make prune keeps it for its time
        with FileLock(self._folder / "lock"), closing(_open_record(self._folder / "record.sqlite")) as record:
            listed = self._remote.listing(blind=_is_case_blind(self._folder))
            missing = {name: listed[name] for name in listed.keys() - self._kept(record, listed)}
            if missing:
                self._refuse_too_much(missing.values())
                self._download(record, missing)
                if self._remote.listing(blind=_is_case_blind(self._folder)) != listed:
                    message = f"data.source: {self._remote.address}: files changed during the download; {AGAIN}"
                    raise RootstockError(message, key="source-changed")
            remove(self._folder / "parts")

    def _kept(self, record: sqlite3.Connection, listed: Mapping[str, RemoteFile]) -> set[str]:
        """Returns the names of files that are here as they are at the server; everything else here is removed."""
        rows = {name: Row(*row) for name, *row in record.execute("SELECT * FROM files")}
        kept = {name for name in rows.keys() & listed.keys() if self._is_current(name, rows[name], listed[name])}
        with record:
            record.executemany("DELETE FROM files WHERE name = ?", ((name,) for name in rows.keys() - kept))
        _remove_others(self.files, kept)
        return kept

    def _is_current(self, name: str, row: Row, file: RemoteFile) -> bool:
        try:
            status = (self.files / name).lstat()
        except OSError:
            return False
        return bool(file.tag) and row == Row(file.size, file.tag, status.st_size, status.st_mtime_ns)

    def _download(self, record: sqlite3.Connection, missing: Mapping[str, RemoteFile]) -> None:
        (self._folder / "parts").mkdir(exist_ok=True)
        with suppress(DvcError):  # no project of DVC, such as in a comparison's folder
            self._cache = cache_folder() / "files" / "md5"
        names = sorted(missing)
        if len(names) == 1:  # in this thread, which shows the parts of a large file
            _write(record, names[0], self._fetch(names[0], missing[names[0]]))
            return
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for name, row in counted(self._fetched(pool, names, missing), len(names), "files downloaded"):
                    _write(record, name, row)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _fetched(
        self, pool: ThreadPoolExecutor, names: Sequence[str], missing: Mapping[str, RemoteFile]
    ) -> Iterator[tuple[str, Row]]:
        for start in range(0, len(names), PLANNED):
            some = names[start : start + PLANNED]
            futures: dict[Future[Row], str] = {pool.submit(self._fetch, name, missing[name]): name for name in some}
            yield from ((futures[future], future.result()) for future in as_completed(futures))

    def _fetch(self, name: str, file: RemoteFile) -> Row:
        """Brings a file here: from DVC's cache, if that has its content, else from the server."""
        target = self.files / name
        part = self._folder / "parts" / hashlib.sha256(repr((name, file)).encode()).hexdigest()
        if part.is_symlink() or (part.exists() and part.stat().st_nlink > 1):  # left from a killed link to the cache
            part.unlink()
        if not self._from_cache(file, part):
            self._remote.download(file, part)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        status = target.stat()
        return Row(file.size, file.tag, status.st_size, status.st_mtime_ns)

    def _from_cache(self, file: RemoteFile, part: Path) -> bool:
        """Links the object of DVC's cache that has the MD5 of the file, if there is one and it is undamaged."""
        if file.md5 is None or self._cache is None:
            return False
        place = self._cache / file.md5[:2] / file.md5[2:]
        try:
            is_same = place.stat().st_size == file.size and _md5_of(place) == file.md5
        except OSError:  # most often, it is not there
            return False
        part.unlink(missing_ok=True)
        return is_same and linked(place, part)

    def _refuse_too_much(self, missing: Collection[RemoteFile]) -> None:
        """Raises RootstockError if the disk has no room for the files that are missing."""
        needed = sum(file.size or 0 for file in missing)
        remedy = "free some space, or set paths.state to a larger disk"
        refuse_if_full({self._folder: needed}, f"data.source: {self._remote.address}: the download", remedy)


def _open_record(file: Path) -> sqlite3.Connection:
    """Opens the record of files; a damaged one is removed, and what it recorded is downloaded again."""
    try:
        return _connected(file)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in DAMAGED:  # such as a full disk
            raise
        for each in file.parent.glob(f"{file.name}*"):
            each.unlink()
        return _connected(file)


def _connected(file: Path) -> sqlite3.Connection:
    record = sqlite3.connect(file)
    record.execute("PRAGMA journal_mode = WAL")
    record.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing; a power failure costs downloads
    record.execute("CREATE TABLE IF NOT EXISTS files (name PRIMARY KEY, size, tag, bytes_here, mtime) WITHOUT ROWID")
    for _row in record.execute("SELECT * FROM files"):  # finds damage in any page
        pass
    return record


def _write(record: sqlite3.Connection, name: str, row: Row) -> None:
    with record:
        record.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (name, *row))


def _remove_others(folder: Path, kept: Collection[str]) -> None:
    """Removes files that are not `kept`, and folders that are then empty."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(place, name)
            if path.relative_to(folder).as_posix() not in kept:
                path.unlink()
        for name in folders:
            path = Path(place, name)
            if path.is_symlink():
                path.unlink()
            elif not any(path.iterdir()):
                path.rmdir()


def _is_case_blind(folder: Path) -> bool:
    """Returns whether the file system takes names in upper and lower case for the same."""
    return (folder.parent / folder.name.swapcase()).exists()


def _md5_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
