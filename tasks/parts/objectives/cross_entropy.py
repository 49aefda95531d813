"""Supervised learning on labels: the mean cross-entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def cross_entropy(network: nn.Module, x_N3SS: Tensor, y_N: Tensor) -> Tensor:
    """The loss of a batch, a scalar: inputs (N, 3, S, S) and classes (N,)."""
    return F.cross_entropy(network(x_N3SS).float(), y_N)
