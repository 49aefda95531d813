"""Reads each image file's facts for the manifest: digests, size and mode, or why it cannot be read."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import imagehash
from PIL import Image

from tasks.core.files import sha256_of
from tasks.core.processes import map_in_processes
from tasks.core.schema import Column
from tasks.core.spread import in_order, is_cluster, spread
from tasks.scorer.decode import DEFAULT, Decoded, Decoding, decoded

Shard = TypeVar("Shard")
Result = TypeVar("Result")
Facts = dict[str, Any]  # the manifest's columns that depend on the file alone
NEW = "new"  # marks a file that is not in the cache
SHARD, FEW = 128, 8  # files that a process, or a thread, reads at a time
MANY = 2000  # new files from which processes pay, which need half a second to start
PEAK = "peak"  # a fact besides the manifest's columns: the largest value of a 16-bit gray image
MAX_SIDE, SHORTENED = 2**18, 2**12  # pixels
BAND = 1024  # rows that are hashed at a time


def facts(
    root: Path, files: Sequence[str], cached: Mapping[str, Facts], decoding: Decoding = DEFAULT
) -> Iterator[Facts]:
    """Yields the facts of each file, in order. `cached` maps SHA-256 to facts; other images are decoded.

    Many are decoded by a process per core: threads would wait for each other.
    """
    root, many = root.absolute(), len(files) - len(cached) >= MANY
    read, way = partial(_read_all, root, decoding), map_in_processes if many else _in_threads
    size = SHARD if many or is_cluster() else FEW
    shards = (files[start : start + size] for start in range(0, len(files), size))
    if not len(cached):  # a file is read once
        yield from chain.from_iterable(spread(read, shards, way))
        return
    hashed: deque[list[Facts]] = deque()

    def new_files() -> Iterator[list[str]]:
        for rows in spread(partial(_hash_all, root), shards, _in_threads):
            hashed.append([_from_cache(row, cached) for row in rows])
            yield [row[Column.PATH] for row in hashed[-1] if NEW in row]

    for decoded_rows in spread(read, new_files(), way):
        new = iter(decoded_rows)
        yield from (next(new) if NEW in row else row for row in hashed.popleft())


def _in_threads(function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Iterator[Result]:
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool.submit, function, shards, lambda: 2 * threads)


def _hash_all(root: Path, files: Sequence[str]) -> list[Facts]:
    return [_hashed(root, file) for file in files]


def _hashed(root: Path, file: str) -> Facts:
    try:
        return {Column.PATH: file, Column.SHA256: sha256_of(root / file)}
    except OSError as error:
        return _unreadable(file, error)


def _from_cache(row: Facts, cached: Mapping[str, Facts]) -> Facts:
    """Returns a hashed file's facts from the cache, or marks it as new; a file that cannot be read is left as it is."""
    if Column.SHA256 not in row:
        return row
    stored = cached.get(row[Column.SHA256])
    return {**row, NEW: True} if stored is None else {**row, **stored}


def _read_all(root: Path, decoding: Decoding, files: Sequence[str]) -> list[Facts]:
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
