"""Batches of inputs and classes for the fit loop: seeded order, seeded views, made ahead by a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tasks.hardware.device import Device
from tasks.hardware.distributed import share
from tasks.images.loading import Squares, ahead
from tasks.images.transforms import CLEAN, Style, inputs
from tasks.scorer.scorer import Preprocessing
from tasks.training.types import Batch

Answers = Callable[
    [int], Tensor
]  # of a view's number, -1 for the clean one: what a teacher says of each picture, (N, A)
CLEAN_VIEW = -1


class Batches:
    """Batches of (N, 3, S, S) inputs, (N,) classes or (N, K) values, and (N,) weights unless all are 1.

    Pictures come once a pass; or, `drawn` by their weights with replacement, as often as those say (balanced sampling).
    Where there are `answers`, the truth is (N, 1 + A) or (N, K + A): theirs for the same view come after it.
    """

    def __init__(
        self,
        squares: Squares,
        y: Tensor,
        weight_N: Tensor,
        preprocessing: Preprocessing,
        device: Device,
        batch: int,
        *,
        drawn: bool = False,
        answers: Answers | None = None,
    ) -> None:
        self._squares = squares
        self._chance_N = (weight_N.double() / weight_N.double().sum()).numpy() if drawn else None
        self._facts = (y,) if drawn or bool((weight_N == 1).all()) else (y, weight_N)
        self._answers = answers
        self._preprocessing = preprocessing
        self._device = device
        self._batch = batch
        self.pictures = len(squares)

    def __len__(self) -> int:
        """Batches in one pass."""
        return ceil(self.pictures / self._batch)

    def first(self) -> Tensor:
        """The first picture as an input, (1, 3, S, S)."""
        square_N3RR = self._squares[[0]].to(self._device.device)
        clean_NP = torch.tensor([CLEAN], device=self._device.device)
        return self._device.place(inputs(square_N3RR, clean_NP, self._preprocessing, Style()))

    def clean(self) -> Iterator[Batch]:
        """Every picture as it is, in order."""
        yield from self.view(torch.tensor([CLEAN]).expand(self.pictures, -1), Style(), CLEAN_VIEW)

    def view(self, draw_NP: Tensor, style: Style, number: int) -> Iterator[Batch]:
        """Every picture once, in order, each under its own draw of the view of this number."""
        yield from self.made(pieces(torch.arange(self.pictures), len(self)), draw_NP, style, number)

    def shuffled(self, epoch: int, seed: int, draw_NVP: Tensor, style: Style) -> Iterator[Batch]:
        """As many pictures as there are, in the order of `seed` and `epoch`, each as the view whose turn it is."""
        view = epoch % draw_NVP.shape[1]
        order = torch.from_numpy(self.order(epoch, seed))
        yield from self.made(pieces(order, len(self)), draw_NVP[:, view], style, view)

    def order(self, epoch: int, seed: int) -> np.ndarray:
        """The rows of an epoch, (N,)."""
        random = np.random.default_rng((seed, epoch))
        if self._chance_N is None:
            return random.permutation(self.pictures)
        return random.choice(self.pictures, self.pictures, p=self._chance_N)

    def made(self, parts: Iterable[Tensor], draw_NP: Tensor, style: Style, number: int) -> Iterator[Batch]:
        """A batch for each part, which are rows; each picture under its own draw of the view of this number."""
        yield from self.placed(((part, draw_NP[part]) for part in parts), style, number)

    def placed(self, parts: Iterable[tuple[Tensor, Tensor]], style: Style, number: int) -> Iterator[Batch]:
        """A batch for each part, which are rows and a draw for each of them."""
        device, parts = self._device.device, ((share(part), share(draw)) for part, draw in parts)
        read = ((part, draw, self._device.stage(self._squares[part.tolist()])) for part, draw in parts)
        for part, draw, staged_N3RR in ahead(read):
            square_N3RR = staged_N3RR.to(device, non_blocking=True)
            x_N3SS = inputs(square_N3RR, draw.to(device), self._preprocessing, style)
            yield self._device.place(x_N3SS), *(fact.to(device) for fact in self.facts_of(part, number))

    def facts_of(self, part: Tensor, number: int) -> tuple[Tensor, ...]:
        """What is known of these rows under the view of this number: all of a batch but the inputs."""
        y, *weight = (fact[part] for fact in self._facts)
        if self._answers is None:
            return y, *weight
        return torch.cat([y.float().view(len(part), -1), self._answers(number)[part]], 1), *weight


def pieces(order: Tensor, count: int) -> tuple[Tensor, ...]:
    """Rows in `count` parts of nearly equal size, so that none is too small for batch statistics."""
    return order.tensor_split(count)
