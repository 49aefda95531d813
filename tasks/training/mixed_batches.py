"""Batches of labelled and of unlabelled pictures together, for the objectives that learn from both.

Shapes: N labelled pictures, U unlabelled ones, V views, P numbers of a draw, S side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tasks.images.transforms import Style
from tasks.training.batches import Batches, pieces
from tasks.training.losses.partial_truth import without
from tasks.training.types import Batch

APART = 2**32  # between the seeds of both orders: classes would meet their own in files that are sorted alike
ORDERS = 1000  # orders of an epoch, at most, in which the fewer pictures are gone through again


@dataclass(frozen=True)
class Viewed:
    """Pictures, and the views of them that are planned, (N, V, P)."""

    batches: Batches
    draw_NVP: Tensor
    style: Style

    def epoch(self, number: int, size: int, steps: int, seed: int) -> Iterator[Batch]:
        """So many batches: every picture once if they are enough for `steps` of `size`, else as often as it takes.

        Each time that a picture comes it is another view of it.
        """
        pictures, views = self.batches.pictures, self.draw_NVP.shape[1]
        wanted = pictures if ceil(pictures / size) == steps else steps * size
        times = ceil(wanted / pictures)
        order = np.concatenate([self.batches.order(number * ORDERS + again, seed) for again in range(times)])[:wanted]
        view = (number * times + np.arange(wanted) // pictures) % views
        parts = zip(*(pieces(torch.from_numpy(of), steps) for of in (order, view)), strict=True)
        return self.batches.placed(((part, self.draw_NVP[part, at]) for part, at in parts), self.style, number)


@dataclass(frozen=True)
class Mixed:
    """Each batch has `batch` labelled pictures and `ratio` times as many unlabelled ones, evenly mixed.

    An epoch goes once through those of which there are more, and as often as it takes through the others. With a
    `strong` view, unlabelled pictures come under both of theirs, in six channels: the weak one first.
    """

    labelled: Viewed
    unlabelled: Viewed
    strong: Viewed | None
    batch: int
    ratio: float
    seed: int

    def __len__(self) -> int:
        """Batches in one epoch."""
        known, other = (viewed.batches.pictures for viewed in (self.labelled, self.unlabelled))
        return max(ceil(known / self.batch), ceil(other / self._size))

    @property
    def _size(self) -> int:
        """Unlabelled pictures in a batch."""
        return ceil(self.batch * self.ratio)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, in an order of its own."""
        steps = len(self)
        known = self.labelled.epoch(number, self.batch, steps, self.seed)
        apart = self.seed + APART
        weak = self.unlabelled.epoch(number, self._size, steps, apart)
        if self.strong is None:
            yield from (woven(own, other, None) for own, other in zip(known, weak, strict=True))
            return
        strong = self.strong.epoch(number, self._size, steps, apart)
        yield from (woven(own, other, second[0]) for own, other, second in zip(known, weak, strong, strict=True))


def woven(known: Batch, unknown: Batch, strong_U3SS: Tensor | None) -> Batch:
    """One batch of both, evenly mixed, so that each part of it has some of either; nothing is known of the second."""
    x, y, *weight = known
    u, unused, *_ = unknown
    if strong_U3SS is not None:
        x, u = torch.cat([x, x], 1), torch.cat([u, strong_U3SS], 1)
    place = torch.cat([(torch.arange(len(part)) + 0.5) / len(part) for part in (x, u)]).argsort(stable=True)
    weights = [torch.cat([own, torch.ones(len(u), device=own.device)])[place] for own in weight]
    return torch.cat([x, u])[place], torch.cat([y, without(unused)])[place], *weights
