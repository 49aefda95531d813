"""Batches of labelled and of unlabelled pictures together, for the objectives that learn from both.

Shapes: N labelled pictures, U unlabelled ones, V views, P numbers of a draw, S side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tasks.parts.batches import Batches, pieces
from tasks.parts.fit import Batch
from tasks.parts.objectives.known import without
from tasks.parts.transforms import Style

ORDERS = 1000  # orders of an epoch, at most, in which the fewer pictures are gone through again


@dataclass(frozen=True)
class Viewed:
    """Pictures, and the views of them that are planned, (N, V, P)."""

    batches: Batches
    draw_NVP: Tensor
    style: Style

    def made(self, parts: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """A batch for each part, in the view whose turn it is."""
        view = epoch % self.draw_NVP.shape[1]
        return self.batches.made(parts, self.draw_NVP[:, view], self.style, view)


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
        return max(
            ceil(viewed.batches.pictures / size)
            for viewed, size in ((self.labelled, self.batch), (self.unlabelled, self.batch * self.ratio))
        )

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch, in an order of its own."""
        known = self.labelled.made(self._rows(self.labelled.batches, number, self.batch), number)
        rows = self._rows(self.unlabelled.batches, number, ceil(self.batch * self.ratio))
        weak = self.unlabelled.made(rows, number)
        if self.strong is None:
            yield from (woven(own, other, None) for own, other in zip(known, weak, strict=True))
            return
        for own, other, strong in zip(known, weak, self.strong.made(rows, number), strict=True):
            yield woven(own, other, strong[0])

    def _rows(self, batches: Batches, number: int, size: int) -> Sequence[Tensor]:
        leads = ceil(batches.pictures / size) == len(self)
        wanted = batches.pictures if leads else len(self) * size
        times = ceil(wanted / batches.pictures)
        orders = [batches.order(number * ORDERS + again, self.seed) for again in range(times)]
        return pieces(torch.from_numpy(np.concatenate(orders)[:wanted]), len(self))


def woven(known: Batch, unknown: Batch, strong_U3SS: Tensor | None) -> Batch:
    """One batch of both, evenly mixed, so that each part of it has some of either; nothing is known of the second."""
    x, y, *weight = known
    u, unused, *_ = unknown
    if strong_U3SS is not None:
        x, u = torch.cat([x, x], 1), torch.cat([u, strong_U3SS], 1)
    place = torch.cat([(torch.arange(len(part)) + 0.5) / len(part) for part in (x, u)]).argsort(stable=True)
    weights = [torch.cat([own, torch.ones(len(u), device=own.device)])[place] for own in weight]
    return torch.cat([x, u])[place], torch.cat([y, without(unused)])[place], *weights
