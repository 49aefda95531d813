"""Rows of a feature matrix that is mapped from files: only a block of them is in memory.

Shapes: N rows, B of them in a block, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 2048


class FeatureRows:
    """Some rows of a matrix in parts, in their order. A slice of them is copied."""

    def __init__(self, parts: Sequence[Tensor], row_N: np.ndarray) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self._row_N = row_N

    def __len__(self) -> int:
        return len(self._row_N)

    @property
    def shape(self) -> torch.Size:
        """Returns the numbers of rows and features."""
        return torch.Size((len(self), self._parts[0].shape[1]))

    def __getitem__(self, where: slice | np.ndarray) -> Tensor:
        """Returns the rows of a slice, or of these numbers in this order, (B, D)."""
        row_B = self._row_N[where]
        part_B = np.searchsorted(self._starts, row_B, side="right") - 1
        x_BD = torch.empty(len(row_B), self.shape[1])
        for part in np.unique(part_B):
            inside_B = part_B == part
            x_BD[torch.from_numpy(inside_B)] = self._parts[part][torch.from_numpy(row_B[inside_B] - self._starts[part])]
        return x_BD

    def sample(self, row_M: np.ndarray) -> FeatureRows:
        """Returns some of the rows, by their numbers in ascending order, (M,)."""
        return FeatureRows(self._parts, self._row_N[row_M])


@dataclass(frozen=True)
class StandardizedRows:
    """Rows from which a mean is subtracted, and which are divided by a deviation, when they are read."""

    x_ND: Tensor | FeatureRows
    mean_D: Tensor
    deviation_D: Tensor

    def __len__(self) -> int:
        return len(self.x_ND)

    @property
    def shape(self) -> torch.Size:
        """Returns the numbers of rows and features."""
        return self.x_ND.shape

    def __getitem__(self, where: slice | np.ndarray) -> Tensor:
        """Returns the rows of a slice, or of these numbers in this order, (B, D)."""
        return (self.x_ND[where] - self.mean_D) / self.deviation_D


Features = Tensor | FeatureRows


def sample(x_ND: Features, row_M: np.ndarray) -> Features:
    """Returns some of the rows, by their numbers in ascending order, (M,)."""
    return x_ND.sample(row_M) if isinstance(x_ND, FeatureRows) else x_ND[torch.from_numpy(row_M)]


def blocks_of(count: int, size: int = BLOCK) -> list[slice]:
    """Returns the slices of the blocks of `count` rows, with `size` rows in all but the last."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
