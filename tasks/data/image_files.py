"""Lists the image files in a folder and reads each file's facts for the manifest."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import imagehash
from PIL import Image

from tasks.core.errors import RootstockError
from tasks.core.files import sha256_of
from tasks.core.schema import Column
from tasks.core.spread import spread
from tasks.scorer.decode import DEFAULT, Decoded, Decoding, decoded
from tasks.scorer.formats import HEAD, format_of, is_refused

Facts = dict[str, Any]  # the manifest's columns that depend on the file alone
NEW = "new"  # marks a file that is not in the cache
SHARD = 128  # files that a process decodes at a time
MANY = 2000  # new files from which processes pay, which need half a second to start
PEAK = "peak"  # a fact besides the manifest's columns: the largest value of a 16-bit gray image
# Suffixes of images that can be decoded, and of those that are refused by name rather than skipped.
READABLE = frozenset(
    (
        *(
            ".png",
            ".apng",
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".pjpeg",
            ".pjp",
            ".webp",
            ".avif",
            ".bmp",
            ".dib",
            ".gif",
        ),
        *(".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpf", ".jpx", ".tga"),
        *(".heic", ".heif", ".hif"),
    )
)
RAW_SUFFIXES = (".cr2", ".cr3", ".nef", ".nrw", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw", ".x3f")
REFUSED = frozenset((*RAW_SUFFIXES, ".jxl", ".psd"))
DOCUMENTS = (".pdf", ".svg", ".eps", ".ps")  # refused in a folder of images, but no images beside the folders
MAX_SIDE, SHORTENED = 2**18, 2**12  # pixels
BAND = 1024  # rows that are hashed at a time
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


def facts(
    root: Path, files: Sequence[str], cached: Mapping[str, Facts], decoding: Decoding = DEFAULT
) -> Iterator[Facts]:
    """Yields the facts of each file, in order. `cached` maps SHA-256 to facts; other images are decoded.

    Many are decoded by a process per core: threads would wait for each other.
    """
    shards = (files[start : start + SHARD] for start in range(0, len(files), SHARD))
    many = len(files) - len(cached) >= MANY
    hashed: deque[list[Facts]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def new_files() -> Iterator[list[str]]:
            for shard in shards:
                hashed.append(list(pool.map(lambda file: _hashed(root, file, cached), shard)))
                yield [row[Column.PATH] for row in hashed[-1] if NEW in row]

        decode = partial(_decode, root, decoding) if many else lambda new: pool.map(partial(_read, root, decoding), new)
        for decoded_rows in spread(decode, new_files(), os.cpu_count() or 1 if many else 1):
            new = iter(decoded_rows)
            yield from (next(new) if NEW in row else row for row in hashed.popleft())


def _hashed(root: Path, file: str, cached: Mapping[str, Facts]) -> Facts:
    """Returns the file's facts if they are in the cache or it cannot be read; else its path, marked as new."""
    try:
        sha256 = sha256_of(root / file)
    except OSError as error:
        return _unreadable(file, error)
    if sha256 in cached:
        return {Column.PATH: file, Column.SHA256: sha256, **cached[sha256]}
    return {Column.PATH: file, NEW: True}


def _decode(root: Path, decoding: Decoding, files: Sequence[str]) -> list[Facts]:
    return [_read(root, decoding, file) for file in files]


def _read(root: Path, decoding: Decoding, file: str) -> Facts:
    try:
        data = (root / file).read_bytes()
    except OSError as error:
        return _unreadable(file, error)
    row: Facts = {Column.PATH: file, Column.SHA256: hashlib.sha256(data).hexdigest()}
    try:
        with decoded(data, decoding=decoding) as image:
            return {**row, **_facts_of_image(image)}
    except ValueError as reason:
        return {**row, Column.QUARANTINE: str(reason)}


def _unreadable(file: str, error: OSError) -> Facts:
    return {Column.PATH: file, Column.QUARANTINE: f"the file cannot be read: {error.strerror}"}


def _facts_of_image(image: Decoded) -> Facts:
    peak = {} if image.peak is None else {PEAK: image.peak}
    return {
        Column.PIXEL_HASH: pixel_hash(image.rgb),
        Column.PERCEPTUAL_HASH: perceptual_hash(image.rgb),
        Column.WIDTH: image.rgb.width,
        Column.HEIGHT: image.rgb.height,
        Column.MODE: image.mode,
        **peak,
    }


def perceptual_hash(image: Image.Image) -> str:
    """Returns the perceptual hash. Very long images are shortened first, or they would be widened at full length."""
    if max(image.size) > MAX_SIDE:
        image = image.resize((min(image.width, SHORTENED), min(image.height, SHORTENED)), Image.Resampling.BOX)
    return str(imagehash.phash(image))


def pixel_hash(image: Image.Image) -> str:
    """Returns the SHA-256 of size and RGB pixels, which is equal for lossless encodings of the same image."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    for top in range(0, image.height, BAND):
        band = image.crop((0, top, image.width, min(top + BAND, image.height)))
        digest.update(band.convert("RGB").tobytes())
    return digest.hexdigest()
