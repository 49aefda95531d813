"""What a network is to answer: one of several classes, or numbers (targets). Shapes: N images, C classes, K targets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tasks.core.errors import DataRefusedError, ParamsError
from tasks.core.schema import HAS, TARGET, Balance, Column, Split
from tasks.core.target import TargetKind, TargetSpec
from tasks.data.manifest import class_names, class_numbers, label_names, target_names
from tasks.training.calibrated_loss import at_best_temperature
from tasks.training.class_balance import equal
from tasks.training.losses.binary_cross_entropy import binary_cross_entropy
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.losses.squared_error import squared_error
from tasks.training.measures import measure_balanced, measure_classes, measure_labels, measure_values
from tasks.training.types import Loss as Objective
from tasks.training.types import Measure

FARTHEST = 1e5  # spreads of a target that its mean may be from zero


@dataclass(frozen=True)
class Goal:
    """The classes, of which an image has one or `several`; or targets, with mean and spread over training images."""

    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    mean_K: tuple[float, ...] = ()
    spread_K: tuple[float, ...] = ()
    several: bool = False

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Goal:
        """From usable rows of the manifest: the training ones alone decide.

        Raises DataRefusedError for targets that do not differ, or whose spread is lost beside their mean.
        """
        targets = target_names(rows)
        if not targets:
            return cls(class_names(rows), several=bool(label_names(rows)))
        y_NK = rows.loc[rows[Column.SPLIT] == Split.TRAIN, [f"{TARGET}{name}" for name in targets]].to_numpy(float)
        spread_K = y_NK.std(0)
        same = [name for name, values in zip(targets, y_NK.T, strict=True) if values.min() == values.max()]
        if same:
            raise DataRefusedError(
                f"data.targets: {', '.join(same)}: all training images have the same number; leave it out"
            )
        far = [name for name, of in zip(targets, np.abs(y_NK.mean(0)) / spread_K, strict=True) if of > FARTHEST]
        if far:
            raise DataRefusedError(
                f"data.targets: {', '.join(far)}: the numbers differ by less than float32 can tell so far from zero; "
                "subtract a constant from them"
            )
        return cls((), targets, tuple(y_NK.mean(0).tolist()), tuple(spread_K.tolist()))

    @property
    def spec(self) -> TargetSpec:
        """The same as data."""
        kind = TargetKind.REGRESSION if self.targets else TargetKind.CLASSIFICATION
        kind = TargetKind.MULTILABEL if self.several else kind
        return TargetSpec(kind, self.classes, self.targets, self.mean_K, self.spread_K)

    @property
    def outputs(self) -> int:
        """How many numbers the network gives: logits, or values."""
        return len(self.classes or self.targets)

    def truth(self, rows: pd.DataFrame) -> Tensor:
        """Class numbers, (N,) int64; labels of 0 and 1, (N, C), or values, (N, K), float32."""
        if self.several:
            return torch.tensor(rows[[f"{HAS}{name}" for name in self.classes]].to_numpy(float), dtype=torch.float32)
        if not self.targets:
            return torch.from_numpy(class_numbers(rows, self.classes))
        return torch.tensor(rows[[f"{TARGET}{name}" for name in self.targets]].to_numpy(float), dtype=torch.float32)

    def standardised(self, y: Tensor) -> Tensor:
        """Values in units of their spread around their mean, as a head on features learns them; classes as they are."""
        return (y - torch.tensor(self.mean_K)) / torch.tensor(self.spread_K) if self.targets else y

    def objective(self, smoothing: float = 0.0, log_prior_C: Tensor | None = None) -> Objective:
        """The loss that training lowers; of classes, with smoothed labels and adjusted logits where wanted."""
        if self.targets and smoothing:
            raise ParamsError("finetune.smoothing: targets have no labels to smooth; set it to 0")
        if self.several:
            return binary_cross_entropy(smoothing)
        return squared_error(self.spread_K) if self.targets else cross_entropy(smoothing, log_prior_C)

    def measure(self, balance: Balance = Balance.NONE) -> Measure:
        """Validation loss, and how good that is: accuracy; macro F1 of several labels; the mean R² of targets.

        That of classes is `at_best_temperature`; of balanced ones, as if all were of equal size.
        """
        if self.several:
            return measure_labels
        if self.targets:
            return measure_values(self.spread_K)
        return (
            at_best_temperature(measure_classes)
            if balance is Balance.NONE
            else at_best_temperature(measure_balanced, equal)
        )

    def told(self, score: float) -> str:
        """How good, in words."""
        if self.several:
            return f"validation macro F1 {score:.3f}"
        return f"validation R² {score:.3f}" if self.targets else f"validation accuracy {score:.1%}"
