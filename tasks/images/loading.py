"""Decoded pictures for the stages that compute: read by threads, kept in memory while they fit."""

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
    """The resized squares of a list of files, (3, R, R) uint8 each; decoded once, if all of them fit `memory` GiB."""

    def __init__(self, root: Path, files: Sequence[str], preprocessing: Preprocessing, memory: float) -> None:
        self._files = [root / file for file in files]
        self._preprocessing = preprocessing
        self._pool = ThreadPoolExecutor(os.cpu_count())
        bytes_needed = len(files) * 3 * preprocessing.resize**2
        self._kept: dict[int, Tensor] | None = {} if bytes_needed <= memory * GIB else None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, rows: Sequence[int]) -> Tensor:
        """The squares of these rows, (n, 3, R, R)."""
        return stacked(list(self._pool.map(self._square, rows)))

    def _square(self, row: int) -> Tensor:
        if self._kept is not None and row in self._kept:
            return self._kept[row]
        square = self._preprocessing.read(self._files[row].read_bytes())
        if self._kept is not None:
            self._kept[row] = square
        return square


def prefetch(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """Yields `items`, which a thread makes up to `depth` ahead; an error there is raised here."""
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
