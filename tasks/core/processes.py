"""Computes shards of work in a pool of processes that end with this one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import chain
from multiprocessing import get_context
from typing import TypeVar

from tasks.core.cores import count_cores
from tasks.core.errors import MORE_MEMORY, RootstockError
from tasks.core.ordered import in_order
from tasks.core.progress import warn

Shard = TypeVar("Shard")
Result = TypeVar("Result")

ATTEMPTS = 3  # pools in a row whose processes may die before this is an error
AHEAD = 2  # shards in flight for each process
CHECK = 0.5  # seconds between two looks at whether the parent is alive


def map_in_processes(
    function: Callable[[Shard], Result], shards: Iterable[Shard], *, workers: int | None = None
) -> Iterator[Result]:
    """Yields `function(shard)` for each shard, in order, computed by `workers` processes; None: one per core.

    `function` and shards must be picklable. Shards of a process that ended, such as for lack of memory, are computed
    again by a new pool of half as many. Raises RootstockError if that happens ATTEMPTS times without a result.
    """
    workers = workers or count_cores()
    waiting: deque[Shard] = deque()  # submitted, and not yet yielded
    remaining, processes, failures = iter(shards), workers, 0
    while True:
        with _pool(processes) as pool, suppress(BrokenProcessPool):
            again = chain([*waiting], _noted(remaining, waiting))
            for result in in_order(pool.submit, function, again, lambda: AHEAD * workers):
                waiting.popleft()
                failures = 0
                yield result
            return
        failures += 1
        if failures == ATTEMPTS:
            break
        processes = max(1, processes // 2)  # most die for lack of memory, which each of them needs
        warn(f"a worker process has died; its work is done again by {processes}")
    raise RootstockError(
        f"worker processes died {ATTEMPTS} times while computing {waiting[0]}; if the memory is full, {MORE_MEMORY}",
        key="process-ended",
    )


def _noted(shards: Iterable[Shard], waiting: deque[Shard]) -> Iterator[Shard]:
    for shard in shards:
        waiting.append(shard)
        yield shard


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(os.getpid(),))


def _begin(parent: int) -> None:
    """Lets the parent handle Ctrl-C, and ends this process when the parent has ended: a killed one cannot do that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with, args=(parent,), daemon=True).start()


def _exit_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(CHECK)
    os._exit(1)
