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


def measure_values(spread_K: Sequence[float]) -> Measure:
    """The same loss, and the mean over targets of R² = 1 - squared error / variance of what is predicted."""

    def measure(output_NK: Tensor, y_NK: Tensor) -> tuple[float, float]:
        error_K = (output_NK - y_NK).square().mean(0)
        loss = (error_K / torch.tensor(spread_K, device=y_NK.device).square()).mean()
        variance_K = variance(y_NK, torch.tensor(spread_K, device=y_NK.device))
        return loss.item(), (1 - error_K / variance_K).mean().item()

    return measure


def variance(y_NK: Tensor, spread_K: Tensor) -> Tensor:
    """Each target's variance, (K,); the square of its spread elsewhere where the values here are all the same."""
    own_K, other_K = y_NK.var(0, correction=0), spread_K.square()
    return torch.where(own_K > 1e-12 * other_K, own_K, other_K)
