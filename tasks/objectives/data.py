"""Fine-tuning data: usable images with their encoded targets, weights and views.

Shapes: N rows, C classes, K targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tasks.core.paths import Paths
from tasks.core.schema import Balance, Column, Split
from tasks.core.sections import AugmentPolicy
from tasks.core.target import TargetSpec
from tasks.data.manifest import of_split, read_manifest
from tasks.hardware.device import Device
from tasks.images.loading import ImageSquares
from tasks.images.views import Views
from tasks.scorer.preprocessing import Preprocessing
from tasks.training.batches import Batches, TeacherOutputs
from tasks.training.class_balance import balance_weights, log_prior
from tasks.training.kinds import check_balance_supported
from tasks.training.losses.partial_truth import mask_labels


@dataclass(frozen=True)
class ImageLoader:
    """Builds batches from manifest rows: images below `root`, preprocessed for one backbone on one device."""

    root: Path
    preprocessing: Preprocessing
    device: Device
    batch: int  # images per forward pass
    memory_gib: float  # limit on the decoded images that are kept for each set of rows

    def batches(
        self,
        rows: pd.DataFrame,
        y: Tensor,
        weight_N: Tensor | None = None,
        size: int = 0,
        *,
        drawn: bool = False,
        teacher: TeacherOutputs | None = None,
    ) -> Batches:
        """Returns batches of `size` rows (0: as in a forward pass); without `weight_N`, (N,), all weights are 1."""
        squares = ImageSquares(self.root, list(rows[Column.PATH]), self.preprocessing, self.memory_gib)
        weight_N = torch.ones(len(rows)) if weight_N is None else weight_N
        how = (self.preprocessing, self.device, size or self.batch)
        return Batches(squares, y, weight_N, *how, drawn=drawn, teacher=teacher)


@dataclass(frozen=True)
class TrainingData:
    """The manifest, the target, the augmentation policy, and the training images' weights, (N,)."""

    manifest: pd.DataFrame
    target: TargetSpec
    policy: AugmentPolicy
    balance: Balance
    weight_N: Tensor
    log_prior_C: Tensor | None  # set if logits are adjusted

    def rows(self, split: Split) -> pd.DataFrame:
        """Returns the usable images of a split."""
        return of_split(self.manifest, split)

    def encode(self, rows: pd.DataFrame) -> Tensor:
        """Encodes the targets of `rows`, (N,), (N, C) or (N, K); unlabeled rows get -1 (classes) or NaN."""
        y = torch.from_numpy(self.target.encode(rows))
        unlabeled_N = torch.tensor((rows[Column.SPLIT] == Split.UNLABELED).to_numpy())
        y[unlabeled_N] = mask_labels(y[unlabeled_N])
        return y

    def views(self, rows: pd.DataFrame, policy: AugmentPolicy | None = None) -> Views:
        """Returns the views of these rows, of the policy of training images, or of another one, drawn independently."""
        pixels = list(rows[Column.PIXEL_HASH])
        return Views(pixels, self.policy) if policy is None else Views(pixels, policy, "other ")


def load_data(paths: Paths, balance: Balance) -> TrainingData:
    """Reads the manifest, target and policy, and weights the training images according to `balance`."""
    manifest, target = read_manifest(paths.manifest), TargetSpec.load(paths.task)
    check_balance_supported(balance, target)
    train = of_split(manifest, Split.TRAIN)
    y, weight_N, prior = torch.from_numpy(target.encode(train)), relative_weights(train), None
    if balance in {Balance.WEIGHTS, Balance.SAMPLING}:
        weight_N = balance_weights(weight_N, y, target.num_outputs)
    elif balance is Balance.LOGITS:
        prior = log_prior(weight_N, y, target.num_outputs)
    return TrainingData(manifest, target, AugmentPolicy.read(paths.policy), balance, weight_N, prior)


def weights_of(rows: pd.DataFrame) -> Tensor:
    """Returns the weights of the rows, (N,)."""
    return torch.tensor(rows[Column.WEIGHT].to_numpy(), dtype=torch.float32)


def relative_weights(rows: pd.DataFrame) -> Tensor:
    """Returns the weights of the rows, (N,), scaled to a mean of 1 to match unlabeled rows, which weigh 1 each."""
    weight_N = weights_of(rows)
    return weight_N / weight_N.mean()
