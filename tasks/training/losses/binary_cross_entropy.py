"""Supervised learning on several labels an image. Shapes: N images, C labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tasks.training.types import Batch, Forward, Loss


def binary_cross_entropy(smoothing: float = 0.0) -> Loss:
    """Returns the mean over labels of the binary cross-entropy of each row, (N,).

    Labels (N, C) of 0 and 1 are drawn toward a half by `smoothing`.
    """

    def loss(network: Forward, batch: Batch) -> Tensor:
        truth_NC = batch.target * (1 - smoothing) + smoothing / 2
        logits_NC = network(batch.inputs).float()
        return F.binary_cross_entropy_with_logits(logits_NC, truth_NC, reduction="none").mean(1)

    return loss
