"""Computes shards of work in order: on the Dask cluster that ROOTSTOCK_SCHEDULER names, or here."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)
SCHEDULER = "ROOTSTOCK_SCHEDULER"  # the address of a Dask scheduler; no parameter, as no result depends on it


class Way(Protocol):
    """Computes shards in order, such as `map`."""

    def __call__(self, function: Callable[[Shard], Result], shards: Iterable[Shard], /) -> Iterator[Result]:
        """Yields `function(shard)` for each shard, in order."""


class Promise(Protocol[Result_co]):
    """A result that is being computed: a future of this process, or of a cluster."""

    def result(self) -> Result_co:
        """Returns the result as soon as it is there, or raises the function's error."""

    def cancel(self) -> object:
        """Leaves it out if it has not begun."""


def spread(function: Callable[[Shard], Result], shards: Iterable[Shard], here: Way = map) -> Iterator[Result]:
    """Yields `function(shard)` for each shard, in order: computed by a cluster's workers if there is one, or by `here`.

    Workers share the file system with this process; `function` and shards must be picklable, and paths absolute.
    """
    if is_cluster():
        from tasks.core.cluster import map_on_cluster

        yield from map_on_cluster(function, shards, os.environ[SCHEDULER].strip())
    else:
        yield from here(function, shards)


def is_cluster() -> bool:
    """Returns whether a cluster computes what is spread."""
    return bool(os.environ.get(SCHEDULER, "").strip())


def in_order(
    submit: Callable[[Callable[[Shard], Result], Shard], Promise[Result]],
    function: Callable[[Shard], Result],
    shards: Iterable[Shard],
    ahead: Callable[[], int],
) -> Iterator[Result]:
    """Yields `function(shard)` for each shard, in order; at most `ahead()` of them are submitted and not yielded."""
    futures: deque[Promise[Result]] = deque()
    try:
        for shard in shards:
            futures.append(submit(function, shard))
            while len(futures) >= ahead():
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:  # after an error or Ctrl-C, only shards that have begun are waited for
        for future in futures:
            future.cancel()
