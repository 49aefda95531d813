"""Decodes images in threads and keeps them in memory if they fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

from tasks.scorer.preprocessing import Preprocessing, stacked

GIB = 2**30
Item = TypeVar("Item")


class SquareReader:
    """Reads the resized squares (3, R, R) uint8 of files below `root`, in a thread per core, or in the caller's."""

    def __init__(self, root: Path, preprocessing: Preprocessing, *, threads: bool = True) -> None:
        self._root = root
        self._preprocessing = preprocessing
        self._pool = ThreadPoolExecutor(os.cpu_count()) if threads else None

    def __call__(self, files: Sequence[str]) -> Tensor:
        """Returns the squares of `files`, (N, 3, R, R)."""
        return stacked(list((self._pool.map if self._pool else map)(self._read, files)))

    def _read(self, file: str) -> Tensor:
        return self._preprocessing.read((self._root / file).read_bytes())


class ImageSquares:
    """The squares of a list of files, (3, R, R) uint8. They are decoded once if all fit into `memory` GiB."""

    def __init__(self, root: Path, files: Sequence[str], preprocessing: Preprocessing, memory: float) -> None:
        self._files = files
        self._read = SquareReader(root, preprocessing)
        bytes_needed = len(files) * 3 * preprocessing.resize**2
        self._cache: dict[int, Tensor] | None = {} if bytes_needed <= memory * GIB else None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Returns the squares of `rows` as uint8, (N, 3, R, R)."""
        if self._cache is None:
            return self._read([self._files[row] for row in rows])
        if new := [row for row in dict.fromkeys(rows) if row not in self._cache]:
            self._cache.update(zip(new, self._read([self._files[row] for row in new]), strict=True))
        return stacked([self._cache[row] for row in rows])


def prefetch(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yields `items`, computed up to `depth` ahead in a thread; exceptions from the thread are re-raised here.

    The thread ends when the generator is closed early.
    """
    queue: Queue[_Entry[Item]] = Queue(depth)
    closed = Event()
    Thread(target=_fill, args=(queue, items, closed), daemon=True).start()
    try:
        while entry := queue.get():
            if entry.error is not None:
                raise entry.error
            yield from entry.items
    finally:
        closed.set()
        with suppress(Empty):  # makes room for the entry that the thread may wait to put
            while True:
                queue.get_nowait()


class _Entry(NamedTuple, Generic[Item]):
    items: tuple[Item, ...]  # one; none at the end
    error: BaseException | None = None

    def __bool__(self) -> bool:
        return bool(self.items or self.error)


def _fill(queue: Queue[_Entry[Item]], items: Iterable[Item], closed: Event) -> None:
    try:
        for item in items:
            queue.put(_Entry((item,)))
            if closed.is_set():
                return
        queue.put(_Entry(()))
    except BaseException as error:
        queue.put(_Entry((), error))
