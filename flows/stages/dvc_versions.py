"""Versions of imported files: copied beside and renamed, added to DVC's cache, and restored from it.

`dvc add --out` would leave a second copy of everything in the cache (treeverse/dvc#10783).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from flows.stages.dvc_cli import DvcError, dvc, dvc_file, tracked_md5
from tasks.core.files import linked, read_json, remove, write_text

LEFT_OUT = "Thumbs.db"  # besides hidden files
LEFTOVER_SECONDS = 3600.0  # age from which a temporary file in the cache belongs to no running command
AT_ONCE = 2**30  # bytes per call


def track(source: Path, target: Path, *, is_ours: bool = False) -> None:
    """Copies a file or folder to `target`, replacing it, and adds it to DVC's cache as a version.

    Hidden files are left out. The copy is then linked to the cache, so that the bytes are stored once; so is a source
    that `is_ours`, whose files are only ever replaced.
    """
    beside, replaced = _beside(target)
    remove_unfinished(target)
    try:
        _copy(source, beside, _link_or_copy if is_ours else _copy_file)
        if target.exists():
            target.rename(replaced)
        beside.rename(target)
    finally:  # a full disk should not stay full
        remove_unfinished(target)
    dvc("add", str(target))
    if target.is_dir():  # DVC links a single file itself
        dvc("checkout", "--relink", "--force", str(dvc_file(target)))
        if is_ours:
            _store_once(source, target)


def restore_version(target: Path, version: str) -> bool:
    """Makes `target` a version that `version_of` returned. Returns False if neither cache nor remote has all of it."""
    file = str(dvc_file(target))
    write_text(dvc_file(target), version)
    for commands in ([["checkout", "--force", file]], [["fetch", file], ["checkout", "--force", file]]):
        with suppress(DvcError):
            for command in commands:
                dvc(*command)
            return True
    return False


def version_of(target: Path) -> str:
    """Returns the version of a copy, as text: the contents of its .dvc file."""
    return dvc_file(target).read_text(encoding="utf-8")


def remove_leftovers() -> int:
    """Removes what killed and earlier imports have left in DVC's cache. Returns the number of files."""
    objects = cache_folder() / "files" / "md5"
    old = time.time() - LEFTOVER_SECONDS
    leftovers = [file for pattern in (".*.tmp", "*/.*.tmp") for file in objects.glob(pattern)]
    removed = 0
    for file in leftovers:
        with suppress(OSError):  # a running command renames it, or it is somebody else's
            if file.stat().st_ctime < old:  # DVC may link an old file to such a name, which does not change its mtime
                file.unlink()
                removed += 1
    return removed


def remove_unfinished(target: Path) -> None:
    """Removes what a killed `track` has left beside `target`."""
    for leftover in _beside(target):
        remove(leftover)


def cache_folder() -> Path:
    """Returns the folder of DVC's cache, which several checkouts may share."""
    return Path(dvc("cache", "dir").strip())


def copied_files(source: Path) -> Iterator[Path]:
    """Yields a file itself, or in order the files of a folder that are copied; Rootstock reads no hidden files."""
    if source.is_dir():
        for path in sorted(source.iterdir()):
            if not is_left_out(path.name):
                yield from copied_files(path)
    elif source.is_file():
        yield source


def is_left_out(name: str) -> bool:
    """Returns whether a file or folder with this name is not copied."""
    return name.startswith(".") or name == LEFT_OUT


def _beside(target: Path) -> tuple[Path, Path]:
    """Returns where the new copy is made, and where the old one is until it is removed."""
    new, old = (target.with_name(f".{target.name}.{what}.tmp") for what in ("new", "old"))
    return new, old


def _copy(source: Path, target: Path, copy_file: Callable[[Path, Path], None]) -> None:
    for file in copied_files(source):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy_file(file, copy)


def _store_once(source: Path, target: Path) -> None:
    """Replaces the objects that are new in DVC's cache, and their copies in `target`, by links to the source's files.

    Each is the file whose MD5 DVC has computed, since `target` was linked to the source. Objects with more links, and
    file systems that share blocks or cannot link, are left as they are.
    """
    objects, version = cache_folder() / "files" / "md5", tracked_md5(target)
    for entry in read_json(objects / version[:2] / version[2:]):
        file, copy = source / entry["relpath"], target / entry["relpath"]
        stored = objects / entry["md5"][:2] / entry["md5"][2:]
        if copy.stat().st_nlink == 2 and copy.samefile(stored):
            file.chmod(stored.stat().st_mode)
            for place in (stored, copy):
                beside = place.with_name(f".{entry['md5']}.tmp")
                if linked(file, beside):
                    beside.replace(place)


def _link_or_copy(source: Path, target: Path) -> None:
    if not linked(source, target):
        _copy_file(source, target)


def _copy_file(source: Path, target: Path) -> None:
    """Copies the contents only: what is read-only or private at the source must not be so here.

    File systems that can, such as Btrfs and XFS, share the blocks until one of the two changes.
    """
    with suppress(OSError, AttributeError), source.open("rb") as read, target.open("wb") as written:
        while os.copy_file_range(read.fileno(), written.fileno(), AT_ONCE):
            pass
        if os.fstat(read.fileno()).st_size == os.fstat(written.fileno()).st_size:
            return
    shutil.copyfile(source, target)
