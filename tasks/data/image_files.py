"""Lists the image files in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from tasks.core.errors import RootstockError
from tasks.scorer.formats import HEAD, format_of, is_refused

# Suffixes of images that can be decoded, and of those that are refused by name rather than skipped.
READABLE = frozenset(
    (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".webp", ".avif", ".bmp", ".dib"),
        *(".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".tga"),
        *(".heic", ".heif", ".hif"),
    )
)
RAW_SUFFIXES = (".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f")
REFUSED = frozenset((*RAW_SUFFIXES, ".jxl", ".psd"))
DOCUMENTS = (".pdf", ".svg", ".eps", ".ps")  # refused in a folder of images, but no images beside the folders
LITTER_FOLDERS = {"@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", ".thumbnails", "__pycache__", "__MACOSX"}
LITTER_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r"}


class Listing(NamedTuple):
    """The files below a folder, as sorted relative POSIX paths. Hidden files are left out.

    Images are to be decoded, or refused with a reason; `litter` is what systems and programs leave in folders, such as
    thumbnails; `others` are all other files.
    """

    images: list[str]
    others: list[str]
    litter: list[str]


def find(root: Path) -> Listing:
    """Lists the files below `root`. Those with no suffix of an image are images if their first bytes say so."""
    listing = Listing([], [], [])
    for path in sorted((path for path in root.rglob("*") if path.is_file()), key=lambda path: path.as_posix()):
        file = path.relative_to(root)
        if not LITTER_FOLDERS.isdisjoint(file.parts[:-1]) or file.name.lower() in LITTER_FILES:
            listing.litter.append(file.as_posix())
        elif not any(part.startswith(".") for part in file.parts):
            (listing.images if _is_image(path, file) else listing.others).append(file.as_posix())
    return listing


def _is_image(path: Path, file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix in DOCUMENTS:
        return len(file.parts) > 1
    if suffix in READABLE or suffix in REFUSED:
        return True
    try:
        with path.open("rb") as opened:
            head = opened.read(HEAD)
    except OSError:
        return False
    return format_of(head) is not None or is_refused(head)


def refuse_unusable(root: Path, name: str, *, hidden: bool) -> None:
    """Raises RootstockError for links to folders, broken links, unreadable folders and names that are not UTF-8.

    DVC cannot version them, and `find` would silently skip them. Hidden files are checked only if `hidden` is set.
    `name` denotes the root in messages, such as `data.source`.
    """
    for path in root.rglob("*"):
        if not hidden and any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.is_symlink() and path.is_dir():
            raise RootstockError(
                f"{name}: {path} is a link to a folder, which is not followed; put a copy there", key="folder-link"
            )
        if path.is_symlink() and not path.exists():
            raise RootstockError(f"{name}: {path} is a broken link; remove it", key="broken-link")
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise RootstockError(
                f"{name}: the folder {path} is not readable; change its permissions", key="folder-unreadable"
            )
        if not is_utf8(path.name):
            raise RootstockError(f"{name}: the name of {os.fsencode(path)!r} is not UTF-8; rename it", key="file-name")


def is_utf8(text: str) -> bool:
    """Returns whether a file name can be encoded as UTF-8. The file system allows arbitrary bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
