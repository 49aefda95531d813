"""Limits PyTorch to one thread, where several would only wait for each other or change the order of sums."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

from tasks.core.ordered import in_order

_THREADS: ContextVar[int] = ContextVar("threads", default=0)  # of map_in_threads; 0: as many as PyTorch may use

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes with one thread, and restores the number of threads afterwards.

    For small matrices several are hardly faster, and many times slower as soon as other processes need the cores.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def threads_for_blocks() -> Iterator[None]:
    """Computes with one thread, except in `map_in_threads`, which takes as many as there were; also as a decorator.

    No result then depends on their number.
    """
    token = _THREADS.set(_THREADS.get() or torch.get_num_threads())
    try:
        with one_thread():
            yield
    finally:
        _THREADS.reset(token)


def _limit() -> None:
    """Limits this thread. PyTorch initializes a thread's number, from that of the process, when it is first asked."""
    torch.get_num_threads()
    torch.set_num_threads(1)


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, most: int | None = None
) -> Generator[Result, None, None]:
    """Yields `function(item)` for each item, in order, each computed by one thread, at most `most` at a time."""
    threads = min(_THREADS.get() or torch.get_num_threads(), most or sys.maxsize)
    with one_thread():
        if threads == 1:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(threads, initializer=_limit) as pool:
            yield from in_order(pool.submit, function, items, lambda: threads + 1)
