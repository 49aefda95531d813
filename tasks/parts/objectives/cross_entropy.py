"""Supervised learning on labels: the mean cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def cross_entropy(network: nn.Module, x_N3SS: Tensor, y_N: Tensor, weight_N: Tensor | None = None) -> Tensor:
    """The loss of a batch, a scalar: inputs (N, 3, S, S), classes (N,), and weights (N,) that rows count by."""
    if weight_N is None:
        return F.cross_entropy(network(x_N3SS).float(), y_N)
    loss_N = F.cross_entropy(network(x_N3SS).float(), y_N, reduction="none")
    return (loss_N * weight_N).sum() / weight_N.sum()
