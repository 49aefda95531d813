"""Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019): mix pairs of images and their targets.

The loss is the weighted mean of the losses for the two targets; its gradient equals that of the loss for the mixed
target (exactly for cross-entropy, up to a constant for squared errors). Each part is assigned to the row of its target,
so that row weights apply. Shapes: N images, S side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.training.types import Batch, Forward, Loss


def mixing(supervised: Loss, mixup: float, cutmix: float) -> Loss:
    """Wraps a loss to train on mixed images. `mixup` and `cutmix` are the Beta distribution's alpha; 0: never.

    If both are set, each batch uses one of them with equal probability, as in timm.
    """
    if not mixup and not cutmix:
        return supervised

    def loss(network: Forward, batch: Batch) -> Tensor:
        x_N3SS, y = batch.inputs, batch.target
        cut = bool(cutmix) and (not mixup or torch.rand(()).item() < 0.5)
        alpha = torch.tensor(cutmix if cut else mixup)
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        other_N = torch.randperm(len(x_N3SS)).to(x_N3SS.device)
        mixed_N3SS, share = _cut(x_N3SS, other_N, share) if cut else (_blend(x_N3SS, other_N, share), share)
        output = network(mixed_N3SS)
        first_N, second_N = (supervised(lambda _: output, batch._replace(target=target)) for target in (y, y[other_N]))
        return share * first_N + (1 - share) * second_N[other_N.argsort()]

    return loss


def _blend(x_N3SS: Tensor, other_N: Tensor, share: float) -> Tensor:
    return share * x_N3SS + (1 - share) * x_N3SS[other_N]


def _cut(x_N3SS: Tensor, other_N: Tensor, share: float) -> tuple[Tensor, float]:
    """Pastes a box from the other image, 1 - share of the area, clipped at the border. Returns the remaining share."""
    height, width = x_N3SS.shape[-2:]
    tall, wide = (int(side * (1 - share) ** 0.5) for side in (height, width))
    top, left = (int(torch.randint(side, ()).item()) for side in (height, width))
    rows, columns = (
        slice(max(at - side // 2, 0), min(at + side // 2, limit))
        for at, side, limit in ((top, tall, height), (left, wide, width))
    )
    mixed_N3SS = x_N3SS.clone()
    mixed_N3SS[..., rows, columns] = x_N3SS[other_N][..., rows, columns]
    return mixed_N3SS, 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
