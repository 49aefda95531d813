"""Computes shards of work in order: on the Dask cluster that ROOTSTOCK_SCHEDULER names, or locally."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")
SCHEDULER = "ROOTSTOCK_SCHEDULER"  # the address of a Dask scheduler; no parameter, as no result depends on it


class Mapper(Protocol):
    """Computes shards in order, such as `map`."""

    def __call__(self, function: Callable[[Shard], Result], shards: Iterable[Shard], /) -> Iterator[Result]:
        """Yields `function(shard)` for each shard, in order."""


def spread(function: Callable[[Shard], Result], shards: Iterable[Shard], local: Mapper = map) -> Iterator[Result]:
    """Yields `function(shard)` for each shard, in order: by a cluster's workers if there is one, else by `local`.

    Workers share the file system with this process; `function` and shards must be picklable, and paths absolute.
    """
    if is_cluster():
        from tasks.core.cluster import map_on_cluster

        yield from map_on_cluster(function, shards, os.environ[SCHEDULER].strip())
    else:
        yield from local(function, shards)


def is_cluster() -> bool:
    """Returns whether a cluster computes what is spread."""
    return bool(os.environ.get(SCHEDULER, "").strip())
