"""Reads the features of training and validation images with their targets and weights.

Shapes: N rows, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tasks.core.paths import Paths
from tasks.core.schema import Column, Split
from tasks.core.target import TargetSpec
from tasks.embedding.matrix import read_features
from tasks.hardware.heap import trimmed
from tasks.heads.linear import Rows, Train
from tasks.heads.rows import FeatureRows


@dataclass(frozen=True)
class EmbeddedRows:
    """The rows of the feature matrix in two splits, with encoded classes (N,), labels (N, C) or values (N, K)."""

    train: Train
    validation: Rows

    @classmethod
    def load(cls, paths: Paths, target: TargetSpec) -> EmbeddedRows:
        """Maps the matrix, and reads its index part by part."""
        parts: list[Tensor] = []
        train, validation = _Picked(Split.TRAIN), _Picked(Split.VALIDATION)
        first = 0
        for x_ND, index in trimmed(read_features(paths)):
            for picked in (train, validation):
                picked.add(index, first, target)
            parts.append(x_ND)
            first += len(index)
        return cls((*train.rows(parts), train.weights()), validation.rows(parts))


class _Picked:
    """Collects the rows of a split."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._numbers: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self._weights: list[np.ndarray] = []

    def add(self, index: pd.DataFrame, first: int, target: TargetSpec) -> None:
        """Adds the split's rows of a part of the index, whose first row has the number `first`."""
        inside_N = (index[Column.SPLIT] == self._split).to_numpy()
        self._numbers.append((first + np.flatnonzero(inside_N)).astype(np.uint32))
        self._targets.append(target.encode(index[inside_N]))
        self._weights.append(index.loc[inside_N, Column.WEIGHT].to_numpy(float))

    def rows(self, parts: Sequence[Tensor]) -> Rows:
        """Returns the features and the targets."""
        return FeatureRows(parts, np.concatenate(self._numbers)), torch.from_numpy(np.concatenate(self._targets))

    def weights(self) -> Tensor:
        """Returns the weights, (N,) float64, without a copy for each row if they are equal."""
        weight_N = torch.from_numpy(np.concatenate(self._weights))
        equal = len(weight_N) > 0 and bool((weight_N == weight_N[0]).all())
        return weight_N[:1].clone().expand(len(weight_N)) if equal else weight_N
