"""Finding image files in a folder, and the facts about each that the manifest holds."""

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

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def find(root: Path) -> tuple[list[str], list[str]]:
    """Relative POSIX paths of the images below `root`, and of the other files; hidden files are in neither."""
    files = sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    images = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
    return images, sorted(set(files) - set(images))


def refuse_unusable(root: Path, name: str, *, hidden: bool) -> None:
    """Raises RootstockError for links to folders and to nothing below `root`, closed folders, and names not in UTF-8.

    No version can hold them, also not where they are `hidden`, and `find` would pass them over. `name` is what the
    user called the root.
    """
    for path in root.rglob("*"):
        if not hidden and any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.is_symlink() and path.is_dir():
            raise RootstockError(f"{name}: {path} is a link to a folder, which is not followed; put a copy there")
        if path.is_symlink() and not path.exists():
            raise RootstockError(f"{name}: {path} is a link to nothing; remove it")
        if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
            raise RootstockError(f"{name}: the folder {path} may not be read; change its permissions")
        if not is_utf8(path.name):
            raise RootstockError(f"{name}: the name of {os.fsencode(path)!r} is not UTF-8; rename it")


def is_utf8(text: str) -> bool:
    """Whether a file's name can be written down: the system's bytes may be anything."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def facts(root: Path, files: Iterable[str], known: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The facts of each file, in order, read by as many threads as there are cores; `known` are some by SHA-256."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda file: _facts(root, file, known), files)


def _facts(root: Path, file: str, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    try:
        data = (root / file).read_bytes()
    except OSError as error:
        return {Column.PATH: file, Column.QUARANTINE: f"the file cannot be read: {error.strerror}"}
    row: dict[str, Any] = {Column.PATH: file, Column.SHA256: hashlib.sha256(data).hexdigest()}
    if row[Column.SHA256] in known:
        return {**row, **known[row[Column.SHA256]]}
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
    """SHA-256 of size and RGB pixels: equal for one picture in two encodings without loss."""
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.convert("RGB").tobytes()).hexdigest()


def _stored_mode(path: Path) -> str:
    """Pillow's name of the pixel format in the file, such as L, RGB or CMYK; the header alone is read."""
    with Image.open(path) as image:
        return image.mode
