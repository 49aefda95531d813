"""Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019): two pictures in one, and both their truths.

The loss is the mean of those for either truth, which has the gradient of the loss for the mixed truth: exactly so for
cross-entropy, and up to a constant for squared errors. Each part stands in the row whose truth it is, by whose weight
it counts then.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


def mixing(objective: Objective, mixup: float, cutmix: float) -> Objective:
    """The objective on mixed pictures. `mixup` and `cutmix` are the Beta distribution's alpha, 0 for never.

    Where both are wanted, each batch is mixed by one of them, by the toss of a coin, as timm does.
    """
    if not mixup and not cutmix:
        return objective

    def loss(network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y_N: Tensor) -> Tensor:
        cut = bool(cutmix) and (not mixup or torch.rand(()).item() < 0.5)
        alpha = torch.tensor(cutmix if cut else mixup)
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        other_N = torch.randperm(len(x_N3SS)).to(x_N3SS.device)
        mixed_N3SS, share = _cut(x_N3SS, other_N, share) if cut else (_blend(x_N3SS, other_N, share), share)
        output = network(mixed_N3SS)
        own_N, others_N = (objective(lambda _: output, x_N3SS, truth) for truth in (y_N, y_N[other_N]))
        return share * own_N + (1 - share) * others_N[other_N.argsort()]

    return loss


def _blend(x_N3SS: Tensor, other_N: Tensor, share: float) -> Tensor:
    return share * x_N3SS + (1 - share) * x_N3SS[other_N]


def _cut(x_N3SS: Tensor, other_N: Tensor, share: float) -> tuple[Tensor, float]:
    """A box of the other picture, of 1 - share of the area and cut off at the rim; and the share that is left."""
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
