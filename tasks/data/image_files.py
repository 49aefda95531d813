"""Lists the image files in a folder and reads each file's facts for the manifest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
from PIL import Image

from tasks.core.errors import RootstockError
from tasks.core.schema import Column
from tasks.scorer.decode import decode

Facts = dict[str, Any]  # the manifest's columns that depend on the file alone
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def find(root: Path) -> tuple[list[str], list[str]]:
    """Returns the relative POSIX paths of all images and of all other files below `root`, excluding hidden files."""
    files = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    images = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
    return images, sorted(set(files) - set(images))


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


def facts(root: Path, files: Iterable[str], cached: Mapping[str, Facts]) -> Iterator[Facts]:
    """Yields the facts of each file, in order, read by one thread per core. `cached` maps SHA-256 to facts."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda file: _facts(root, file, cached), files)


def _facts(root: Path, file: str, cached: Mapping[str, Facts]) -> Facts:
    try:
        data = (root / file).read_bytes()
    except OSError as error:
        return {Column.PATH: file, Column.QUARANTINE: f"the file cannot be read: {error.strerror}"}
    row: Facts = {Column.PATH: file, Column.SHA256: hashlib.sha256(data).hexdigest()}
    if row[Column.SHA256] in cached:
        return {**row, **cached[row[Column.SHA256]]}
    try:
        image = decode(data)
    except ValueError as reason:
        return {**row, Column.QUARANTINE: str(reason)}
    return {
        **row,
        Column.PIXEL_HASH: pixel_hash(image),
        Column.PERCEPTUAL_HASH: str(imagehash.phash(image)),
        Column.WIDTH: image.width,
        Column.HEIGHT: image.height,
        Column.MODE: _stored_mode(root / file),
    }


def pixel_hash(image: Image.Image) -> str:
    """Returns the SHA-256 of size and RGB pixels, which is equal for lossless encodings of the same image."""
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.convert("RGB").tobytes()).hexdigest()


def _stored_mode(path: Path) -> str:
    """Returns Pillow's mode of the stored image, such as L, RGB or CMYK, reading only the header."""
    with Image.open(path) as image:
        return image.mode
