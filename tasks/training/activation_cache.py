"""The frozen prefix is computed once for each view; epochs then run only what learns.

Activations at the cut lie in files without a name, which the system removes with the process. The place of each view is
reserved before it is filled: a full disk is an error, never a broken mapping. Rows are computed in the order of the
manifest and always in the same batches, so that a resumed run finds the same bits.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.core.progress import say
from tasks.hardware.device import Device
from tasks.hardware.microbatches import Parts
from tasks.images.transforms import Style
from tasks.training.batches import CLEAN_VIEW, Batches, pieces
from tasks.training.types import Batch

GIB = 2**30
PARTS = Parts()
SPARE = 1.0  # GiB that are left free on the disk


class Cached:
    """Batches of (N, ...) activations instead of inputs: otherwise what `Batches` gives, in the same order."""

    def __init__(self, batches: Batches, prefix: nn.Module, device: Device, folder: Path) -> None:
        self._batches = batches
        self._prefix = prefix
        self._device = device
        self._folder = folder
        self._views: dict[int, Tensor] = {}
        self.computed = 0  # pictures that went through the prefix
        self.asked = 0  # pictures that would have without this

    def __len__(self) -> int:
        """Batches in one pass."""
        return len(self._batches)

    def clean(self) -> Iterator[Batch]:
        """Every picture as it is, in order."""
        order = torch.arange(self._batches.pictures)
        yield from self._made(order, CLEAN_VIEW, self._batches.clean())

    def shuffled(self, epoch: int, seed: int, draw_NVP: Tensor, style: Style) -> Iterator[Batch]:
        """Every picture once, in the order of `seed` and `epoch`, each as the view whose turn it is."""
        view = epoch % draw_NVP.shape[1]
        order = torch.from_numpy(self._batches.order(epoch, seed))
        yield from self._made(order, view, self._batches.view(draw_NVP[:, view], style, view))

    def _made(self, order: Tensor, view: int, batches: Iterator[Batch]) -> Iterator[Batch]:
        self.asked += len(order)
        kept = self._view(view, batches)
        for part in pieces(order, len(self)):
            facts = (fact.to(self._device.device) for fact in self._batches.facts_of(part, view))
            yield self._device.place(kept[part]), *facts

    def _view(self, view: int, batches: Iterator[Batch]) -> Tensor:
        """The activations of all pictures under one view, (N, ...)."""
        if view not in self._views:
            rows = 0
            for x_N3SS, *_ in batches:
                found = activations(self._prefix, x_N3SS, self._device)
                if view not in self._views:
                    self._views[view] = reserved(self._folder, (self._batches.pictures, *found.shape[1:]), found.dtype)
                self._views[view][rows : rows + len(found)] = found
                rows += len(found)
            self.computed += rows
        return self._views[view]


def activations(prefix: nn.Module, x_N3SS: Tensor, device: Device) -> Tensor:
    """What crosses the cut, (N, ...), on the CPU."""
    prefix.eval()
    with torch.no_grad(), device.autocast():
        found: Tensor = PARTS.tried(lambda chunks: torch.cat([prefix(x) for (x,) in chunks]), (x_N3SS,))
    return found.cpu()


def reserved(folder: Path, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor in a file that has its place on the disk and no name. Raises OSError if there is no room."""
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
    """Whether the activations of so many views, and of the validation pictures, fit `most` GiB and the disk."""
    one = activations(prefix, train.first(), device)
    size = (views * train.pictures + validation.pictures) * one.numel() * one.element_size() / GIB
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / GIB - SPARE
    if size > min(most, free):
        room = "over finetune.cache" if size > most else f"and {folder} has no room for them"
        say(f"activations at the cut would take {size:.1f} GiB, {room}: computed in each epoch instead")
    return size <= min(most, free)
