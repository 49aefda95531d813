"""Interleaves labeled and unlabeled images in each batch, for objectives that train on both.

Shapes: N labeled images, U unlabeled images, S side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tasks.images.transforms import RenderStyle
from tasks.images.views import Views
from tasks.training.batches import Batches, split_evenly
from tasks.training.losses.partial_truth import mask_labels
from tasks.training.types import Batch

SEED_STRIDE = 2**32  # offset between the seeds of both orders; equal seeds would pair up sorted files by class
ORDERS = 1000  # maximum passes through the smaller set in one epoch


@dataclass(frozen=True)
class ViewedImages:
    """Images and their views."""

    batches: Batches
    views: Views
    style: RenderStyle

    def epoch(self, number: int, size: int, steps: int, seed: int) -> Iterator[Batch]:
        """Yields `steps` batches of `size` images: every image once if that is enough, else in repeated passes.

        Each pass uses the next view of every image.
        """
        images = self.batches.num_images
        total = images if ceil(images / size) == steps else steps * size
        times = ceil(total / images)
        order = np.concatenate([self.batches.order(number * ORDERS + again, seed) for again in range(times)])[:total]
        view = 1 + (number * times + np.arange(total) // images) % self.views.count
        parts = zip(*(split_evenly(torch.from_numpy(column), steps) for column in (order, view)), strict=True)
        return self.batches.render(((part, self.views.draw(part, at)) for part, at in parts), self.style, number)


@dataclass(frozen=True)
class MixedBatches:
    """Batches of `batch` labeled images and `ratio` times as many unlabeled ones, evenly interleaved.

    An epoch passes once through the larger set and repeatedly through the smaller set. With `strong`, inputs have six
    channels: the weak view first, then the strong view.
    """

    labeled: ViewedImages
    unlabeled: ViewedImages
    strong: ViewedImages | None
    batch: int
    ratio: float
    seed: int

    def __len__(self) -> int:
        """Returns the number of batches in one epoch."""
        labeled, unlabeled = (views.batches.num_images for views in (self.labeled, self.unlabeled))
        return max(ceil(labeled / self.batch), ceil(unlabeled / self._size))

    @property
    def _size(self) -> int:
        """Returns the number of unlabeled images in a batch."""
        return ceil(self.batch * self.ratio)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yields the batches of epoch `number` in a random order that depends on it."""
        steps = len(self)
        labeled = self.labeled.epoch(number, self.batch, steps, self.seed)
        unlabeled_seed = self.seed + SEED_STRIDE
        weak = self.unlabeled.epoch(number, self._size, steps, unlabeled_seed)
        if self.strong is None:
            yield from (interleave(first, second, None) for first, second in zip(labeled, weak, strict=True))
            return
        strong = self.strong.epoch(number, self._size, steps, unlabeled_seed)
        for first, second, third in zip(labeled, weak, strong, strict=True):
            yield interleave(first, second, third.inputs)


def interleave(labeled: Batch, unlabeled: Batch, strong_U3SS: Tensor | None) -> Batch:
    """Merges (N, C, S, S) and (U, C, S, S) evenly, so that micro-batches contain labeled and unlabeled images.

    Masks the targets of the unlabeled images.
    """
    x, y, weight, _ = labeled
    u = unlabeled.inputs
    if strong_U3SS is not None:
        x, u = torch.cat([x, x], 1), torch.cat([u, strong_U3SS], 1)
    place = torch.cat([(torch.arange(len(part)) + 0.5) / len(part) for part in (x, u)]).argsort(stable=True)
    if weight is not None:
        weight = torch.cat([weight, torch.ones(len(u), device=weight.device)])[place]
    return Batch(torch.cat([x, u])[place], torch.cat([y, mask_labels(unlabeled.target)])[place], weight)
