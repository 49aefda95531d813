"""The variance of regression targets. Shapes: N images, K targets."""

from __future__ import annotations

import torch
from torch import Tensor


def variance(y_NK: Tensor, std_K: Tensor) -> Tensor:
    """Returns the variance of each target of (N, K), or the square of `std_K` if its values are constant."""
    variance_K, fallback_K = y_NK.var(0, correction=0), std_K.square()
    return torch.where(variance_K > 1e-12 * fallback_K, variance_K, fallback_K)
