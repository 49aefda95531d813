"""Decodes images in threads and keeps them in memory if they fit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TypeVar

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
    """Yields `items`, computed up to `depth` ahead in a thread; exceptions from the thread are re-raised here."""
    queue: Queue[tuple[Item | None, BaseException | None]] = Queue(depth)
    done = object()

    def work() -> None:
        try:
            for item in items:
                queue.put((item, None))
            queue.put((done, None))  # type: ignore[arg-type]
        except BaseException as error:
            queue.put((None, error))

    Thread(target=work, daemon=True).start()
    while True:
        item, error = queue.get()
        if error is not None:
            raise error
        if item is done:
            return
        yield item  # type: ignore[misc]
