"""The multi-label loss. Shapes: N images, C labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tasks.training.types import Batch, Forward, Loss


def binary_cross_entropy(smoothing: float = 0.0) -> Loss:
    """Returns a loss: the binary cross-entropy of each row, (N,), averaged over labels.

    `smoothing` moves 0/1 labels (N, C) toward one half.
    """

    def loss(network: Forward, batch: Batch) -> Tensor:
        truth_NC = batch.target * (1 - smoothing) + smoothing / 2
        logits_NC = network(batch.inputs).float()
        return F.binary_cross_entropy_with_logits(logits_NC, truth_NC, reduction="none").mean(1)

    return loss
