"""Embeds many views, several batches at a time: in threads of this process, or by the workers of a cluster.

Shapes: N rows, S side of the input, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tasks.core.progress import counted
from tasks.core.spread import Mapper, spread
from tasks.embedding.extraction import Extraction, Features, ViewBatch, view_batches
from tasks.embedding.feature_store import FeatureStore, write_shard
from tasks.embedding.thread_count import threads_with_room
from tasks.embedding.worker import LOADED, check_worker, facts_of_bits
from tasks.hardware.device import Device
from tasks.hardware.heap import trimmed
from tasks.hardware.threads import map_in_threads
from tasks.images.transforms import CLEAN, RenderStyle
from tasks.models.backbone import Backbone

SHARD, LEAST_SHARDS = 16, 64  # batches that are computed and stored together, fewer if there would be few shards
EMBEDDED = "batches embedded"
Loader = Callable[[], Backbone]  # loads a network in another process; its representation names everything it reads


def extract(
    root: Path, files: Sequence[str], backbone: Backbone, device: Device, style: RenderStyle, batch: int
) -> Tensor:
    """Returns the features of clean images, (N, D) float32, computed by this process."""
    clean_P, no_key = np.array(CLEAN), np.zeros(2, np.uint64)
    views = view_batches(((file, clean_P, no_key) for file in files), batch)
    threads = threads_with_room(backbone.module, backbone.preprocessing.crop, device, batch)
    mapper = mapper_for(device, threads)
    shards = _shards(views, 1 if device.device.type == "cpu" else SHARD)
    parts = mapper(Extraction(backbone, device, style, batch, root), shards)
    return torch.cat([part.x_ND for part in counted(parts, ceil(len(files) / batch), EMBEDDED)])


def mapper_for(device: Device, threads: int) -> Mapper:
    """Returns how this process computes shards."""
    return partial(map_in_threads, most=threads) if device.device.type == "cpu" else map


def embed_to_store(
    extraction: Extraction,
    load: Loader | None,
    store: FeatureStore,
    views: Iterable[ViewBatch],
    count: int,
    threads: int,
) -> None:
    """Embeds `count` batches of views into the store: in threads, or on a cluster, whose workers write to it.

    Without `load`, the network cannot be sent to other processes, and this one computes.
    """
    work, on_cpu = Embedding(extraction, load, store.folder.absolute()), extraction.device.device.type == "cpu"
    store.folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(views, max(1, min(SHARD, count // LEAST_SHARDS)) if on_cpu else SHARD)
    mapper = mapper_for(extraction.device, threads)
    done = trimmed(spread(work, shards, mapper) if load else mapper(work, shards))
    for _batch in counted(_noted(done, store), count, EMBEDDED):
        pass


def _noted(done: Iterable[Written], store: FeatureStore) -> Iterator[None]:
    """Adds shards to the store's index as they are written; yields once for each of their batches."""
    for written in done:
        store.append(written.file)
        yield from [None] * written.batches


def _shards(views: Iterable[ViewBatch], size: int) -> Iterator[list[ViewBatch]]:
    remaining = iter(views)
    while shard := list(islice(remaining, size)):
        yield shard


class Written(NamedTuple):
    """The name of a shard's file in the store, and its number of batches."""

    file: str
    batches: int


class Embedding:
    """Embeds shards and writes them into a context's folder. Pickled, it names the network instead of holding it."""

    def __init__(self, extraction: Extraction, load: Loader | None, folder: Path) -> None:
        self._extraction, self._load, self._folder = extraction, load, folder

    def __call__(self, shard: Sequence[ViewBatch]) -> Written:
        """Writes the features of some batches of views."""
        return _write(self._extraction(shard), self._folder, len(shard))

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how to do the same in another process."""
        work = self._extraction
        facts = facts_of_bits(work.device)
        settings = (work.device, work.style, work.batch, work.root.absolute())
        return RemoteEmbedding, (self._load, facts, *settings, self._folder)


@dataclass(frozen=True)
class RemoteEmbedding:
    """Does the same in another process. It loads the network when it is first called, not when it is unpickled.

    Dask's scheduler unpickles it too, and a worker that cannot do so ends.
    """

    load: Loader
    facts: Mapping[str, str]
    device: Device
    style: RenderStyle
    batch: int
    root: Path
    folder: Path

    def __call__(self, shard: Sequence[ViewBatch]) -> Written:
        """Writes the features of some batches of views.

        Raises RootstockError if they would not be the same bits, or if the files are not where the client has them.
        """
        check_worker(self.facts, self.device, self.root, self.folder)
        settings = (self.load, self.device, self.style, self.batch, self.root)
        with LOADED.using(repr(settings), lambda: Extraction(self.load(), *settings[1:])) as extraction:
            return _write(extraction(shard), self.folder, len(shard))


def _write(features: Features, folder: Path, batches: int) -> Written:
    return Written(write_shard(folder, features.key_N2, features.x_ND), batches)
