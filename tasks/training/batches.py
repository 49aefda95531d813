"""Batches of inputs and targets for the fit loop: seeded order, seeded views, prefetched by a thread.

Shapes: N images, B of them in a batch, R and S sides, P view parameters, A columns of the teacher's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tasks.hardware.device import Device
from tasks.hardware.distributed import shard
from tasks.images.loading import ImageSquares, prefetch
from tasks.images.transforms import CLEAN, RenderStyle, inputs
from tasks.images.views import CLEAN_VIEW, Draw, Views, draw_clean
from tasks.scorer.preprocessing import Preprocessing
from tasks.training.types import Batch

TeacherOutputs = Callable[[int], Tensor]  # maps a view's number to outputs (N, A)


class Batches:
    """Batches of a list of images, each image once per pass.

    With `drawn`, images are instead sampled with replacement in proportion to their weights (balanced sampling).
    `teacher` returns the teacher's outputs for every image under one view.
    """

    def __init__(
        self,
        squares: ImageSquares,
        y: Tensor,
        weight_N: Tensor,
        preprocessing: Preprocessing,
        device: Device,
        batch: int,
        *,
        drawn: bool = False,
        teacher: TeacherOutputs | None = None,
    ) -> None:
        self._squares = squares
        self._probability_N = (weight_N.double() / weight_N.double().sum()).numpy() if drawn else None
        self._y = y
        self._weight_N = None if drawn or bool((weight_N == 1).all()) else weight_N
        self._teacher = teacher
        self._preprocessing = preprocessing
        self._device = device
        self._batch = batch
        self.num_images = len(squares)

    def __len__(self) -> int:
        """Returns the number of batches in one pass."""
        return ceil(self.num_images / self._batch)

    def first(self) -> Tensor:
        """Returns the first image as an input, (1, 3, S, S)."""
        square_N3RR = self._squares[[0]].to(self._device.device)
        clean_NP = torch.tensor([CLEAN], device=self._device.device)
        return self._device.place(inputs(square_N3RR, clean_NP, self._preprocessing, RenderStyle()))

    def clean(self) -> Iterator[Batch]:
        """Yields every image without augmentation, in order."""
        yield from self.view(draw_clean, RenderStyle(), CLEAN_VIEW)

    def view(self, draw: Draw, style: RenderStyle, number: int) -> Iterator[Batch]:
        """Yields every image once, in order, with its parameters by `draw`, as view `number`."""
        yield from self.select(split_evenly(torch.arange(self.num_images), len(self)), draw, style, number)

    def shuffled(self, epoch: int, seed: int, views: Views, style: RenderStyle) -> Iterator[Batch]:
        """Yields an epoch of images in an order determined by `seed` and `epoch`, each with the epoch's view."""
        view, order = views.number(epoch), torch.from_numpy(self.order(epoch, seed))
        yield from self.select(split_evenly(order, len(self)), partial(views.draw, view=view), style, view)

    def order(self, epoch: int, seed: int) -> np.ndarray:
        """Returns the row numbers of an epoch in order, (N,)."""
        random = np.random.default_rng((seed, epoch))
        if self._probability_N is None:
            return random.permutation(self.num_images)
        return random.choice(self.num_images, self.num_images, p=self._probability_N)

    def select(self, parts: Iterable[Tensor], draw: Draw, style: RenderStyle, number: int) -> Iterator[Batch]:
        """Yields a batch for each part, a tensor of row numbers (B,), with their parameters by `draw`."""
        yield from self.render(((part, draw(part)) for part in parts), style, number)

    def render(self, parts: Iterable[tuple[Tensor, Tensor]], style: RenderStyle, number: int) -> Iterator[Batch]:
        """Yields a batch for each part: row numbers, (B,), and their view parameters, (B, P)."""
        device, parts = self._device.device, ((shard(part), shard(draw)) for part, draw in parts)
        read = ((part, draw, self._device.stage(self._squares[part.tolist()])) for part, draw in parts)
        for part, draw, staged_N3RR in prefetch(read):
            square_N3RR = staged_N3RR.to(device, non_blocking=True)
            x_N3SS = inputs(square_N3RR, draw.float().to(device), self._preprocessing, style)
            yield self.labeled(self._device.place(x_N3SS), part, number)

    def labeled(self, x: Tensor, part: Tensor, number: int) -> Batch:
        """Joins inputs or activations (B, ...) of the rows `part` under this view with targets, weights and teacher."""
        device = self._device.device
        weight_B = None if self._weight_N is None else self._weight_N[part].to(device)
        teacher_BA = None if self._teacher is None else self._teacher(number)[part].to(device)
        return Batch(x, self._y[part].to(device), weight_B, teacher_BA)


def split_evenly(order: Tensor, count: int) -> tuple[Tensor, ...]:
    """Splits rows (N,) into `count` parts of nearly equal size, so that none is too small for batch statistics."""
    return order.tensor_split(count)
