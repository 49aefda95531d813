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


class ImageSquares:
    """The resized squares (3, R, R) uint8 of a list of files. They are decoded once if all fit into `memory` GiB."""

    def __init__(self, root: Path, files: Sequence[str], preprocessing: Preprocessing, memory: float) -> None:
        self._files = [root / file for file in files]
        self._preprocessing = preprocessing
        self._pool = ThreadPoolExecutor(os.cpu_count())
        bytes_needed = len(files) * 3 * preprocessing.resize**2
        self._cache: dict[int, Tensor] | None = {} if bytes_needed <= memory * GIB else None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """Returns the squares of `rows` as uint8, (N, 3, R, R)."""
        return stacked(list(self._pool.map(self._square, rows)))

    def _square(self, row: int) -> Tensor:
        if self._cache is not None and row in self._cache:
            return self._cache[row]
        square = self._preprocessing.read(self._files[row].read_bytes())
        if self._cache is not None:
            self._cache[row] = square
        return square


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
