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
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tasks.core.errors import RootstockError
from tasks.core.progress import counted
from tasks.core.same_machine import refuse_difference
from tasks.core.spread import Mapper, spread
from tasks.embedding.extraction import Extraction, Features, ViewBatch, one_thread_facts, view_batches
from tasks.embedding.feature_store import FeatureStore, write_shard
from tasks.hardware.available_memory import available_bytes
from tasks.hardware.device import Device, processor_facts
from tasks.hardware.heap import trimmed
from tasks.hardware.threads import map_in_threads
from tasks.images.transforms import CLEAN, RenderStyle
from tasks.models.backbone import Backbone, embed

SHARD, LEAST_SHARDS = 16, 64  # batches that are computed and stored together, fewer if there would be few shards
EMBEDDED = "batches embedded"
Loader = Callable[[], Backbone]  # loads a network in another process; its representation names everything it reads


def extract(
    root: Path, files: Sequence[str], backbone: Backbone, device: Device, style: RenderStyle, batch: int
) -> Tensor:
    """Returns the features of clean images, (N, D) float32, computed by this process."""
    clean_P, no_key = np.array(CLEAN), np.zeros(2, np.uint64)
    views = view_batches(((file, clean_P, no_key) for file in files), batch)
    mapper = mapper_for(device, threads_with_room(backbone, device, batch))
    shards = _shards(views, 1 if device.device.type == "cpu" else SHARD)
    parts = mapper(Extraction(backbone, device, style, batch, root), shards)
    return torch.cat([part.x_ND for part in counted(parts, ceil(len(files) / batch), EMBEDDED)])


def threads_with_room(backbone: Backbone, device: Device, batch: int) -> int:
    """Returns how many threads may embed batches at a time: on a CPU, as many as half of the free memory has room for.

    `backbone` is not compiled. Otherwise one, as a device computes one batch after another.
    """
    if device.device.type != "cpu":
        return 1
    needed = batch * activation_bytes(backbone.module, backbone.preprocessing.crop)
    return max(1, min(torch.get_num_threads(), available_bytes() // 2 // needed))


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
        facts = {**one_thread_facts(work.device), **processor_facts()}
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
        if missing := [path for path in (self.root, self.folder) if not path.is_dir()]:
            message = f"a worker does not see {missing[0]}: workers need the client's file system at the same paths"
            raise RootstockError(message, key="worker-differs")
        refuse_difference(self.facts, self._facts_here())
        return _write(self._extraction()(shard), self.folder, len(shard))

    def _facts_here(self) -> dict[str, str]:
        try:
            return {**one_thread_facts(self.device), **processor_facts()}
        except (RuntimeError, AssertionError):  # there is no such device
            return {**self.facts, "device": "no " + self.device.device.type}

    def _extraction(self) -> Extraction:
        """Returns the extraction; the last one is kept for the process's next shards."""
        key = repr((self.load, self.device, self.style, self.batch, self.root))
        with _LOCK:
            if key not in _LAST:
                _LAST.clear()
                _LAST[key] = Extraction(self.load(), self.device, self.style, self.batch, self.root)
            return _LAST[key]


_LAST: dict[str, Extraction] = {}
_LOCK = Lock()


def _write(features: Features, folder: Path, batches: int) -> Written:
    return Written(write_shard(folder, features.key_N2, features.x_ND), batches)


def activation_bytes(module: nn.Module, side: int) -> int:
    """Returns roughly the memory that one image needs, from its views to its features: twice the largest layer's.

    Rendering takes some six copies of the input.
    """
    largest = 0

    def note(_layer: nn.Module, taken: tuple[object, ...], made: object) -> None:
        nonlocal largest
        tensors = [value for value in (*taken, made) if isinstance(value, Tensor)]
        largest = max(largest, sum(tensor.numel() for tensor in tensors))

    handles = [layer.register_forward_hook(note) for layer in module.modules() if not [*layer.children()]]
    try:
        embed(module, torch.zeros(1, 3, side, side))
    finally:
        for handle in handles:
            handle.remove()
    return 4 * max(2 * largest, 6 * 3 * side**2)
