"""Computes the frozen prefix once for each view; epochs then run only the trainable remainder.

Activations at the cut are stored in unnamed files, which the system removes when the process exits. Space for each view
is reserved before it is filled, so a full disk raises an error and never breaks a mapping. Rows are computed in
manifest order and always in the same batches, so that a resumed run is bit-identical. Shapes: N images, B of them in a
batch, S side.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.core.progress import say
from tasks.hardware.device import Device
from tasks.hardware.microbatches import MicroBatches
from tasks.images.transforms import RenderStyle
from tasks.images.views import CLEAN_VIEW, Views
from tasks.models.freezing import Names
from tasks.training.batches import Batches, split_evenly
from tasks.training.types import Batch

GIB = 2**30
MICRO_BATCHES = MicroBatches()
SPARE = 1.0  # GiB kept free on the disk


class CachedBatches:
    """Yields the batches of `Batches`, in the same order, with activations (B, ...) instead of inputs."""

    def __init__(self, batches: Batches, prefix: nn.Module, device: Device, folder: Path) -> None:
        self._batches = batches
        self._prefix = prefix
        self._device = device
        self._folder = folder
        self._views: dict[int, Tensor] = {}
        self.computed = 0  # images that have passed through the prefix
        self.asked = 0  # images that would have done so without the cache

    def __len__(self) -> int:
        """Returns the number of batches in one pass."""
        return len(self._batches)

    def clean(self) -> Iterator[Batch]:
        """Yields every image without augmentation, in order."""
        order = torch.arange(self._batches.num_images)
        yield from self._from_cache(order, CLEAN_VIEW, self._batches.clean())

    def shuffled(self, epoch: int, seed: int, views: Views, style: RenderStyle) -> Iterator[Batch]:
        """Yields every image once, in an order determined by `seed` and `epoch`, each with the epoch's view."""
        view, order = views.number(epoch), torch.from_numpy(self._batches.order(epoch, seed))
        yield from self._from_cache(order, view, self._batches.view(partial(views.draw, view=view), style, view))

    def _from_cache(self, order: Tensor, view: int, batches: Iterator[Batch]) -> Iterator[Batch]:
        self.asked += len(order)
        stored = self._view(view, batches)
        for part in split_evenly(order, len(self)):
            yield self._batches.labeled(self._device.place(stored[part]), part, view)

    def _view(self, view: int, batches: Iterator[Batch]) -> Tensor:
        """Returns the activations of all images under one view, (N, ...), computed on the first call."""
        if view not in self._views:
            rows = 0
            for batch in batches:
                part = activations(self._prefix, batch.inputs, self._device)
                if view not in self._views:
                    self._views[view] = reserve(self._folder, (self._batches.num_images, *part.shape[1:]), part.dtype)
                self._views[view][rows : rows + len(part)] = part
                rows += len(part)
            self.computed += rows
        return self._views[view]


Caches = tuple[CachedBatches, CachedBatches]  # of training and validation images


@dataclass(frozen=True)
class SharedCaches:
    """Activations that several fits share, by their trainable layers, with room for the longest fit's epochs."""

    epochs: int
    by_layers: dict[tuple[Names, ...], Caches] = field(default_factory=dict)


def image_counts(*batches: Batches | CachedBatches) -> tuple[int, int]:
    """Returns for how many images the frozen blocks were asked for and computed."""
    cached = [each for each in batches if isinstance(each, CachedBatches)]
    return sum(each.asked for each in cached), sum(each.computed for each in cached)


def activations(prefix: nn.Module, x_N3SS: Tensor, device: Device) -> Tensor:
    """Computes the prefix's output for inputs (N, 3, S, S). Returns it on the CPU, (N, ...)."""
    prefix.eval()
    with torch.no_grad(), device.autocast():
        output: Tensor = MICRO_BATCHES.run_with_retry(
            lambda chunks: torch.cat([prefix(x) for (x,) in chunks]), (x_N3SS,)
        )
    return output.cpu()


def reserve(folder: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Maps a tensor of this shape to an unnamed file with allocated disk space. Raises OSError if there is no space."""
    folder.mkdir(parents=True, exist_ok=True)
    size = prod(shape) * dtype.itemsize
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        else:
            file.truncate(size)
        return torch.from_file(file.name, shared=True, size=prod(shape), dtype=dtype).view(shape)


def fits(
    prefix: nn.Module, train: Batches, validation: Batches, device: Device, folder: Path, views: int, most: float
) -> bool:
    """Returns whether the activations of `views` views and of the validation images fit `most` GiB and on disk."""
    one = activations(prefix, train.first(), device)
    size = (views * train.num_images + validation.num_images) * one.numel() * one.element_size() / GIB
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / GIB - SPARE
    if size > min(most, free):
        room = "over finetune.cache" if size > most else f"and {folder} has no room for them"
        say(f"activations at the cut would take {size:.1f} GiB, {room}: computed in each epoch instead")
    return size <= min(most, free)
