"""Batches of inputs and classes for the fit loop: seeded order, seeded views, made ahead by a thread."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tasks.parts.device import Device
from tasks.parts.fit import Batch
from tasks.parts.pixels import Squares, ahead
from tasks.parts.scorer import Preprocessing
from tasks.parts.transforms import CLEAN, inputs


class Batches:
    """Batches of (N, 3, S, S) inputs, (N,) classes or (N, K) values, and (N,) weights unless all are 1."""

    def __init__(
        self, squares: Squares, y: Tensor, weight_N: Tensor, preprocessing: Preprocessing, device: Device, batch: int
    ) -> None:
        self._squares = squares
        self._facts = (y,) if bool((weight_N == 1).all()) else (y, weight_N)
        self._preprocessing = preprocessing
        self._device = device
        self._batch = batch

    def __len__(self) -> int:
        """Batches in one pass."""
        return ceil(len(self._squares) / self._batch)

    def clean(self) -> Iterator[Batch]:
        """Every picture as it is, in order."""
        draw_N7 = torch.tensor([CLEAN]).expand(len(self._squares), -1)
        yield from self._made(np.arange(len(self._squares)), draw_N7, "black")

    def shuffled(self, epoch: int, seed: int, draw_NV7: Tensor, fill: str) -> Iterator[Batch]:
        """Every picture once, in the order of `seed` and `epoch`, each as the view whose turn it is."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self._squares))
        yield from self._made(order, draw_NV7[:, epoch % draw_NV7.shape[1]], fill)

    def _made(self, order: np.ndarray, draw_N7: Tensor, fill: str) -> Iterator[Batch]:
        """Batches of nearly equal size, so that none is too small for batch statistics."""
        parts = np.array_split(order, len(self))
        for part, square_N3RR in ahead((part, self._squares[part.tolist()]) for part in parts):
            device = self._device.device
            x_N3SS = inputs(square_N3RR.to(device), draw_N7[part].to(device), self._preprocessing, fill)
            yield self._device.place(x_N3SS), *(fact[part].to(device) for fact in self._facts)
