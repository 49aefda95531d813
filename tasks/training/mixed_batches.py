"""Batches of labeled and unlabeled images together, for the objectives that learn from both.

Shapes: N labeled images, U unlabeled ones, V views, P numbers a view, S side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tasks.images.transforms import RenderStyle
from tasks.training.batches import Batches, split_evenly
from tasks.training.losses.partial_truth import mask_labels
from tasks.training.types import Batch

SEED_STRIDE = 2**32  # between the seeds of both orders: else sorted files would always meet images of their own class
ORDERS = 1000  # per epoch at most, in which the smaller set is gone through again


@dataclass(frozen=True)
class PlannedViews:
    """Images and their planned views, (N, V, P)."""

    batches: Batches
    draw_NVP: Tensor
    style: RenderStyle

    def epoch(self, number: int, size: int, steps: int, seed: int) -> Iterator[Batch]:
        """Yields `steps` batches: every image once if they last for `steps` of `size`, else as often as it takes.

        Each time an image comes, it is another view of it.
        """
        pictures, views = self.batches.pictures, self.draw_NVP.shape[1]
        total = pictures if ceil(pictures / size) == steps else steps * size
        times = ceil(total / pictures)
        order = np.concatenate([self.batches.order(number * ORDERS + again, seed) for again in range(times)])[:total]
        view = (number * times + np.arange(total) // pictures) % views
        parts = zip(*(split_evenly(torch.from_numpy(of), steps) for of in (order, view)), strict=True)
        return self.batches.render(((part, self.draw_NVP[part, at]) for part, at in parts), self.style, number)


@dataclass(frozen=True)
class MixedBatches:
    """Batches of `batch` labeled images and `ratio` times as many unlabeled ones, evenly interleaved.

    An epoch goes once through the larger set and as often as it takes through the other. With a `strong` view, images
    come under both of theirs, in six channels: the weak one first.
    """

    labeled: PlannedViews
    unlabeled: PlannedViews
    strong: PlannedViews | None
    batch: int
    ratio: float
    seed: int

    def __len__(self) -> int:
        """Returns the number of batches in one epoch."""
        labeled, unlabeled = (views.batches.pictures for views in (self.labeled, self.unlabeled))
        return max(ceil(labeled / self.batch), ceil(unlabeled / self._size))

    @property
    def _size(self) -> int:
        """Unlabeled images in a batch."""
        return ceil(self.batch * self.ratio)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yields the batches of an epoch, in an order of its own."""
        steps = len(self)
        labeled = self.labeled.epoch(number, self.batch, steps, self.seed)
        apart = self.seed + SEED_STRIDE
        weak = self.unlabeled.epoch(number, self._size, steps, apart)
        if self.strong is None:
            yield from (interleave(first, second, None) for first, second in zip(labeled, weak, strict=True))
            return
        strong = self.strong.epoch(number, self._size, steps, apart)
        for first, second, third in zip(labeled, weak, strong, strict=True):
            yield interleave(first, second, third.inputs)


def interleave(labeled: Batch, unlabeled: Batch, strong_U3SS: Tensor | None) -> Batch:
    """Merges both evenly, so that each micro-batch has some of either; the unlabeled rows' targets are masked."""
    x, y, weight, _ = labeled
    u = unlabeled.inputs
    if strong_U3SS is not None:
        x, u = torch.cat([x, x], 1), torch.cat([u, strong_U3SS], 1)
    place = torch.cat([(torch.arange(len(part)) + 0.5) / len(part) for part in (x, u)]).argsort(stable=True)
    if weight is not None:
        weight = torch.cat([weight, torch.ones(len(u), device=weight.device)])[place]
    return Batch(torch.cat([x, u])[place], torch.cat([y, mask_labels(unlabeled.target)])[place], weight)
