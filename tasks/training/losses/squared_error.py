"""Regression: the mean squared error, each target in units of its spread. Shapes: N images, K targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Measure = Callable[[Tensor, Tensor], tuple[float, float]]


def squared_error(spread_K: Sequence[float]) -> Callable[..., Tensor]:
    """A loss a row, (N,), of a network, inputs (N, 3, S, S) and values (N, K)."""

    def loss(network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y_NK: Tensor) -> Tensor:
        error_NK = (network(x_N3SS).float() - y_NK) / torch.tensor(spread_K, device=y_NK.device)
        return error_NK.square().mean(1)

    return loss
