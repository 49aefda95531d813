"""Domain-adversarial training (Ganin et al., "Domain-Adversarial Training of Neural Networks", 2016).

A critic tells the domains apart by their features; the backbone learns from its gradient reversed, ever more of it.
What differs: the target's features are those of inference mode.
Shapes: N rows, L labelled, U of the target, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.training.losses.partial_truth import apart, as_rows, is_known

HIDDEN = 256
Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


class Dann:
    """The loss `own` on labelled rows, and the critic's on all, each domain half; the reversal grows to `weight`."""

    def __init__(self, own: Objective, width: int, weight: float) -> None:
        self._own = own
        self._weight = weight
        self.critic = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        self.reversal = 0.0

    def begin(self, epoch: int, epochs: int) -> None:
        """The reversal's weight in this epoch: 2 / (1 + exp(-10 p)) - 1 of the whole, p from 0 to 1."""
        self.reversal = self._weight * (2 / (1 + math.exp(-10 * (epoch + 0.5) / max(epochs, 1))) - 1)

    def __call__(self, network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y: Tensor) -> Tensor:
        """The loss of each row, (N,)."""
        known_N = is_known(y)
        (source_LD, output_LC), (target_UD, _) = apart(network, x_N3SS, known_N)
        rows_N = as_rows(self._own(lambda _: output_LC, x_N3SS[known_N], y[known_N]), known_N)
        told_N = self.critic(_Reversed.apply(torch.cat([source_LD, target_UD]).float(), self.reversal))[:, 0].float()
        first = len(source_LD)
        wrong_L = F.binary_cross_entropy_with_logits(told_N[:first], torch.ones_like(told_N[:first]), reduction="none")
        wrong_U = F.binary_cross_entropy_with_logits(told_N[first:], torch.zeros_like(told_N[first:]), reduction="none")
        return rows_N + (as_rows(wrong_L, known_N) + as_rows(wrong_U, ~known_N)) / 2


class _Reversed(torch.autograd.Function):
    """The same forwards; backwards, minus the gradient, times a factor."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None  # type: ignore[attr-defined]
