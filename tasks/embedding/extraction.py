"""Embeds shards of views, several at a time: by threads of this process, or by the workers of a cluster.

A batch is always computed by one thread and in the same shape, so that a feature depends on nothing but its image and
view. Shapes: N rows, B images per batch, R side of the resized square, S side of the input, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.core.progress import counted
from tasks.core.same_machine import refuse_difference
from tasks.core.spread import Way, spread
from tasks.embedding.feature_store import FeatureStore, write_shard
from tasks.hardware.available_memory import available_bytes
from tasks.hardware.device import Device
from tasks.hardware.heap import trimmed
from tasks.hardware.threads import map_in_threads, one_thread
from tasks.images.loading import SquareReader, prefetch
from tasks.images.transforms import CLEAN, RenderStyle, inputs
from tasks.models.backbone import Backbone, embed

SHARD, LEAST_SHARDS = 16, 16  # batches that are computed and stored together, fewer if there would be few shards
EMBEDDED = "batches embedded"
NETWORKS = 2  # kept in a cluster's worker


class ViewBatch(NamedTuple):
    """Views to embed, at most as many as a batch has: their files, parameters (N, P) float64, and keys (N, 2)."""

    files: Sequence[str]
    draw_NP: Tensor
    key_N2: np.ndarray


class Features(NamedTuple):
    """Features (N, D) float32, and the keys of their views (N, 2)."""

    x_ND: Tensor
    key_N2: np.ndarray


class Extraction:
    """Embeds views of the images below `root`. In another process, `load` loads the network there."""

    def __init__(
        self,
        backbone: Backbone,
        device: Device,
        style: RenderStyle,
        batch: int,
        root: Path,
        load: Callable[[], Backbone] | None = None,
    ) -> None:
        self._backbone, self._device, self._style, self._batch, self._root = backbone, device, style, batch, root
        self._load = load
        self._module = device.place(backbone.module)
        self._on_cpu = device.device.type == "cpu"
        self._squares = SquareReader(root.absolute(), backbone.preprocessing, threads=not self._on_cpu)

    def __reduce__(self) -> tuple[object, ...]:
        """Returns how to do the same in another process, without the network."""
        facts = one_thread_facts(self._device)
        return Elsewhere, (self._load, facts, self._device, self._style, self._batch, self._root.absolute())

    def __call__(self, shard: Sequence[ViewBatch]) -> Features:
        """Returns the features of some batches of views, computed by one thread."""
        read = ((view, self._device.stage(self._squares(view.files))) for view in shard)
        with one_thread():
            parts = [self._features(*batch) for batch in (read if self._on_cpu else prefetch(read))]
        return Features(torch.cat(parts), np.concatenate([view.key_N2 for view in shard]))

    def _features(self, view: ViewBatch, square_N3RR: Tensor) -> Tensor:
        rows, batch = len(square_N3RR), self._batch
        padded = F.pad(square_N3RR, (0, 0, 0, 0, 0, 0, 0, batch - rows)) if rows < batch else square_N3RR
        square_B3RR = padded.to(self._device.device, non_blocking=True)
        draw_BP = torch.tensor([CLEAN]).repeat(batch, 1)
        draw_BP[:rows] = view.draw_NP
        draw_BP = draw_BP.to(self._device.device)
        x_B3SS = self._device.place(inputs(square_B3RR, draw_BP, self._backbone.preprocessing, self._style))
        with self._device.autocast():
            return embed(self._module, x_B3SS)[:rows].cpu()


@dataclass(frozen=True)
class Elsewhere:
    """An extraction in another process. It loads the network when it is first called, not when it is unpickled.

    Dask's scheduler unpickles it too, and a worker that cannot do so ends.
    """

    load: Callable[[], Backbone]
    facts: Mapping[str, str]
    device: Device
    style: RenderStyle
    batch: int
    root: Path

    def __call__(self, shard: Sequence[ViewBatch]) -> Features:
        """Returns the features of some batches of views. Raises RootstockError if they would not be the same bits."""
        refuse_difference(self.facts, one_thread_facts(self.device))
        backbone = _network(repr(self.load), self.load)
        return Extraction(backbone, self.device, self.style, self.batch, self.root)(shard)


_networks: dict[str, Backbone] = {}
_lock = Lock()


def _network(name: str, load: Callable[[], Backbone]) -> Backbone:
    """Returns the network of this name; the last NETWORKS are kept."""
    with _lock:
        if name not in _networks:
            while len(_networks) >= NETWORKS:
                del _networks[next(iter(_networks))]
            _networks[name] = load()
        return _networks[name]


def one_thread_facts(device: Device) -> dict[str, str]:
    """Returns what a batch's bits depend on, which is computed by one thread."""
    with one_thread():
        return device.facts()


def in_shards(views: Iterable[ViewBatch], count: int) -> Iterator[list[ViewBatch]]:
    """Yields `count` batches in shards."""
    size = max(1, min(SHARD, count // LEAST_SHARDS))
    remaining = iter(views)
    while shard := list(islice(remaining, size)):
        yield shard


def way_here(backbone: Backbone, device: Device, batch: int) -> Way:
    """Returns how this process computes shards: on a CPU in as many threads as have room in the memory."""
    if device.device.type != "cpu":
        return map
    needed = batch * activation_bytes(backbone.module, backbone.preprocessing.crop)
    return partial(map_in_threads, most=max(1, available_bytes() // 2 // needed))


def embed_to_store(
    extraction: Extraction, store: FeatureStore, views: Iterable[ViewBatch], count: int, here: Way
) -> None:
    """Embeds `count` batches of views into the store: by `here`, or on a cluster, whose workers write to it."""
    work = partial(_embed_and_write, extraction, store.folder.absolute())
    done = trimmed(spread(work, in_shards(views, count), here))
    for _batch in counted((None for batches in done for _batch in range(batches)), count, EMBEDDED):
        pass
    store.refresh()


def _embed_and_write(extraction: Extraction, folder: Path, shard: Sequence[ViewBatch]) -> int:
    features = extraction(shard)
    write_shard(folder, features.key_N2, features.x_ND)
    return len(shard)


def activation_bytes(module: nn.Module, side: int) -> int:
    """Returns roughly the memory that one image needs on its way through the network, twice its largest layer."""
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
    return 2 * 4 * largest
