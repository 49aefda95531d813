"""Regression: the mean squared error, each target in units of its spread. Shapes: N images, K targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Measure = Callable[[Tensor, Tensor], tuple[float, float]]


def squared_error(spread_K: Sequence[float]) -> Callable[..., Tensor]:
    """The loss of a batch, a scalar: inputs (N, 3, S, S), values (N, K), and weights (N,) that rows count by."""

    def loss(network: nn.Module, x_N3SS: Tensor, y_NK: Tensor, weight_N: Tensor | None = None) -> Tensor:
        error_NK = (network(x_N3SS).float() - y_NK) / torch.tensor(spread_K, device=y_NK.device)
        weight_N = torch.ones(len(y_NK), device=y_NK.device) if weight_N is None else weight_N
        mean: Tensor = (error_NK.square().mean(1) * weight_N).sum() / weight_N.sum()
        return mean

    return loss


def measure_values(spread_K: Sequence[float]) -> Measure:
    """The same loss, and the mean over targets of R² = 1 - squared error / variance of what is predicted."""

    def measure(output_NK: Tensor, y_NK: Tensor) -> tuple[float, float]:
        error_K = (output_NK - y_NK).square().mean(0)
        loss = (error_K / torch.tensor(spread_K, device=y_NK.device).square()).mean()
        variance_K = y_NK.var(0, correction=0).clamp_min(1e-12)
        return loss.item(), (1 - error_K / variance_K).mean().item()

    return measure
