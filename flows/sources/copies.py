"""Copies of sources in the checkout, versioned by DVC: a copy is made only if its version is not in DVC's cache."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple

from flows.local.environment import CHECKOUT, MAIN_CHECKOUT
from flows.stages import dvc_cli, dvc_versions
from tasks.core.disk import free_bytes, refuse_if_full, shares_blocks
from tasks.core.errors import RootstockError
from tasks.core.files import put_aside, read_json, sha256_of, write_json

BROUGHT_IN, UNCHANGED = "brought in", "unchanged"  # the outcomes of an import
UNFINISHED = {"unfinished": str(CHECKOUT)}  # note while an import into this checkout is running


def import_copy(source: Path, target: Path, state: Path, name: str | None = None) -> str:
    """Makes `target` the current version of `source`. Returns the outcome, with the path of the source or its `name`.

    Nothing is done if the files are unchanged; a version that was imported before, here or in another worktree, is
    taken from DVC's cache or remote; anything else is copied. Leftovers of an interrupted import into this checkout are
    replaced; a copy without a version, or whose version has changed since (`git pull`), is put aside. Raises
    RootstockError if `target` is not Rootstock's copy: if it overlaps the source, was edited by hand, or was never
    imported; or if files of the source change or vanish meanwhile.
    """
    try:
        return f"{_import_copy(source, target, state)}: {name or _short(source)}"
    except FileNotFoundError as error:
        if not Path(str(error.filename)).is_relative_to(source):
            raise
        raise _changed(source, f"{error.filename} vanished") from None


def _import_copy(source: Path, target: Path, state: Path) -> str:
    _refuse_overlap(source, target)
    dvc_versions.remove_unfinished(target)
    note = state / "source" / f"{target.name}.json"
    is_ours = source.resolve().is_relative_to((state / "source").resolve())
    listed = _listed(source, inodes=is_ours)
    current = {"source": _short(source.resolve()), "listing": listed.digest}
    last = read_json(note) if note.exists() else {}
    before = dvc_cli.tracked_md5(target) if dvc_cli.dvc_file(target).exists() else None
    version = last.get("version") if last.items() >= current.items() else None
    if before and target.exists() and version and last["md5"] == before:
        return UNCHANGED
    if not version:  # before anything is changed: what was imported last stays usable
        _refuse_too_large(source, target, listed.size, is_ours=is_ours)
    if target.exists() and (not before or last.get("md5", before) != before):
        _put_aside(target, note, state)
    elif target.exists() and last != UNFINISHED:
        dvc_cli.refuse_edits(target)
    write_json(note, UNFINISHED)
    if not (version and dvc_versions.restore_version(target, version)):
        _track(source, target, current["listing"], is_ours=is_ours)
    after = dvc_cli.tracked_md5(target)
    write_json(note, {**current, "md5": after, "version": dvc_versions.version_of(target)})
    return UNCHANGED if after == before else BROUGHT_IN


def _track(source: Path, target: Path, identity: str, *, is_ours: bool) -> None:
    """Copies the source and adds the copy as a version. Raises RootstockError if it is not what `identity` is of.

    A file that is away for a moment, as on a network drive, would otherwise be missed for ever: when it is back, the
    source is as it was listed before the copy.
    """
    dvc_versions.track(source, target, is_ours=is_ours)
    if missed := _sizes(source).items() ^ _sizes(target).items():
        raise _changed(source, f"{min(missed)[0]} changed or vanished")
    if _listed(source, inodes=is_ours).digest != identity:
        raise _changed(source, "files changed")


def _changed(source: Path, what: str) -> RootstockError:
    message = f"{source}: {what} while it was copied; run the command again when nothing writes to it"
    return RootstockError(message, key="source-changed")


def _sizes(folder: Path) -> dict[str, int]:
    """Returns the size of each file that is copied, by its path in the folder; of a single file, by a dot."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in dvc_versions.copied_files(folder)}


def _refuse_overlap(source: Path, target: Path) -> None:
    """Raises RootstockError if one path is inside the other: the copy would overwrite its source."""
    source_path, target_path = source.resolve(), target.resolve()
    if source_path.is_relative_to(target_path) or target_path.is_relative_to(source_path):
        message = f"{source}: Rootstock copies it to {target}; keep your data in another folder"
        raise RootstockError(message, key="source-overlaps-copy")


def _put_aside(target: Path, note: Path, state: Path) -> None:
    """Puts aside a copy without a version. Raises RootstockError if Rootstock did not make the copy."""
    if not note.exists():
        message = f"{target}: Rootstock's copy goes here, but the present content is in no version: move it away"
        raise RootstockError(message, key="copy-not-versioned")
    place = state / "failed" / f"{target.name}-{time.strftime('%Y%m%d-%H%M%S')}"  # beside those of earlier times
    put_aside(target, place)
    os.utime(place)  # it is new here, so that make prune keeps it for its time


def _short(source: Path) -> str:
    """Returns the path relative to this checkout or the main checkout if it is inside one, otherwise the path as is.

    So a file has the same name in every worktree.
    """
    for root in (CHECKOUT, MAIN_CHECKOUT):
        if source.is_relative_to(root):
            return str(source.relative_to(root))
    return str(source)


class Listing(NamedTuple):
    """A digest that changes with the files, and their bytes."""

    digest: str
    size: int


def _listed(source: Path, *, inodes: bool) -> Listing:
    """Returns the listing of a folder; of a single file, such as weights, with the digest of its contents.

    In a new worktree, a committed file has a new mtime.
    """
    return Listing(sha256_of(source), source.stat().st_size) if source.is_file() else _listing_of(source, inodes=inodes)


def listing(source: Path) -> str:
    """Returns a digest of the names, sizes and mtimes of all files in `source`, without reading their contents."""
    return _listing_of(source).digest


def _listing_of(source: Path, *, inodes: bool = False) -> Listing:
    """Returns the listing; with the numbers of `inodes` for files that may be links to DVC's cache, with its mtimes."""
    digest, size = hashlib.sha256(), 0
    for path in dvc_versions.copied_files(source):
        status = path.stat()
        digest.update(repr((str(path.relative_to(source)), status.st_size, status.st_mtime_ns)).encode())
        digest.update(repr(status.st_ino).encode() if inodes else b"")
        size += status.st_size
    return Listing(digest.hexdigest(), size)


def _refuse_too_large(source: Path, target: Path, size: int, *, is_ours: bool) -> None:
    """Raises RootstockError if a copy of `size` bytes certainly does not fit on the disk that `target` will be on.

    Nothing is certain on one disk if the source `is_ours` and can be linked, or if its file system shares blocks.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    is_linked = is_ours and source.stat().st_dev == target.parent.stat().st_dev
    if size > free_bytes(target.parent) and not (is_linked or shares_blocks(target.parent)):
        remedy = "free some space (make prune shows what nothing needs any more), or move the checkout to a larger disk"
        refuse_if_full({target.parent: size}, f"the copy of {source}", remedy)
