"""Reads the facts of many image files: those in the cache are only hashed, others are decoded, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from tasks.core.cores import count_cores
from tasks.core.files import sha256_of
from tasks.core.ordered import in_order
from tasks.core.processes import map_in_processes
from tasks.core.schema import Column
from tasks.core.spread import is_cluster, spread
from tasks.data.image_facts import Facts, read_facts, unreadable
from tasks.scorer.decode import DEFAULT, Decoding

Shard = TypeVar("Shard")
Result = TypeVar("Result")
NEW = "new"  # marks a file that is not in the cache
SHARD, FEW = 128, 8  # files that a process, or a thread, reads at a time
MANY = 2000  # new files from which processes pay, which need half a second to start


def facts_of_files(
    root: Path, files: Sequence[str], cached: Mapping[str, Facts], decoding: Decoding = DEFAULT
) -> Iterator[Facts]:
    """Yields the facts of each file, in order. `cached` maps SHA-256 to facts; other images are decoded.

    Many are decoded by a process per core: threads would wait for each other.
    """
    root, many = root.absolute(), len(files) - len(cached) >= MANY
    read, local = partial(_read_all, root, decoding), map_in_processes if many else _in_threads
    size = SHARD if many or is_cluster() else FEW
    shards = (files[start : start + size] for start in range(0, len(files), size))
    if not len(cached):  # a file is read once
        for rows in spread(read, shards, local):
            yield from (_read_here(root, row, decoding) for row in rows)
        return
    hashed: deque[list[Facts]] = deque()

    def new_files() -> Iterator[list[str]]:
        for rows in spread(partial(_hash_all, root), shards, _in_threads):
            hashed.append([_from_cache(_read_here(root, row, decoding), cached) for row in rows])
            yield [row[Column.PATH] for row in hashed[-1] if NEW in row]

    for decoded_rows in spread(read, new_files(), local):
        new = iter([_read_here(root, row, decoding) for row in decoded_rows])
        yield from (next(new) if NEW in row else row for row in hashed.popleft())


def _in_threads(function: Callable[[Shard], Result], shards: Iterable[Shard]) -> Iterator[Result]:
    threads = count_cores()
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool.submit, function, shards, lambda: 2 * threads)


def _hash_all(root: Path, files: Sequence[str]) -> list[Facts]:
    return [_hashed(root, file) for file in files]


def _hashed(root: Path, file: str) -> Facts:
    try:
        return {Column.PATH: file, Column.SHA256: sha256_of(root / file)}
    except OSError as error:
        return unreadable(file, error)


def _from_cache(row: Facts, cached: Mapping[str, Facts]) -> Facts:
    """Returns a hashed file's facts from the cache, or marks it as new; a file that cannot be read is left as it is."""
    if Column.SHA256 not in row:
        return row
    stored = cached.get(row[Column.SHA256])
    return {**row, NEW: True} if stored is None else {**row, **stored}


def _read_here(root: Path, row: Facts, decoding: Decoding) -> Facts:
    """Reads a file here that a worker of a cluster could not read: its file system may be at fault."""
    return read_facts(root, row[Column.PATH], decoding) if is_cluster() and Column.SHA256 not in row else row


def _read_all(root: Path, decoding: Decoding, files: Sequence[str]) -> list[Facts]:
    return [read_facts(root, file, decoding) for file in files]
