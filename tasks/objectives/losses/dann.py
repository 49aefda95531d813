"""Domain-adversarial training (Ganin et al., "Domain-Adversarial Training of Neural Networks", 2016).

A critic classifies the domain from the features; the backbone is trained with its reversed gradient, scaled up over the
epochs. Difference from the paper: target-domain features are computed in inference mode.
Shapes: N rows, L labeled, U from the target domain, D features.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.training.losses.partial_truth import forward_by_domain, is_labeled, scatter_rows, supervised_rows
from tasks.training.types import Batch, Forward, Loss

HIDDEN = 256


class Dann:
    """The supervised loss on labeled rows plus the critic's loss, with equal weight for both domains.

    The weight of the reversed gradient grows to `weight`.
    """

    def __init__(self, supervised: Loss, width: int, weight: float) -> None:
        self._supervised = supervised
        self._weight = weight
        self.critic = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        self.reversal = 0.0

    def begin(self, epoch: int, epochs: int) -> None:
        """Sets the reversal's weight for this epoch: 2 / (1 + exp(-10 p)) - 1 of the full weight, p from 0 to 1."""
        self.reversal = self._weight * (2 / (1 + math.exp(-10 * (epoch + 0.5) / max(epochs, 1))) - 1)

    def __call__(self, network: Forward, batch: Batch) -> Tensor:
        """Returns the loss of each row, (N,)."""
        labeled_N = is_labeled(batch.target)
        (source_LD, output_LC), (target_UD, _) = forward_by_domain(network, batch.inputs, labeled_N)
        rows_N = scatter_rows(supervised_rows(self._supervised, batch, labeled_N, output_LC), labeled_N)
        domain_N = self.critic(_Reversed.apply(torch.cat([source_LD, target_UD]).float(), self.reversal))[:, 0].float()
        first = len(source_LD)
        source_loss_L = F.binary_cross_entropy_with_logits(
            domain_N[:first], torch.ones_like(domain_N[:first]), reduction="none"
        )
        target_loss_U = F.binary_cross_entropy_with_logits(
            domain_N[first:], torch.zeros_like(domain_N[first:]), reduction="none"
        )
        return rows_N + (scatter_rows(source_loss_L, labeled_N) + scatter_rows(target_loss_U, ~labeled_N)) / 2


class _Reversed(torch.autograd.Function):
    """Identity in the forward pass; multiplies the gradient by -factor in the backward pass."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]
        return x.view_as(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradients[0], None  # type: ignore[attr-defined]
