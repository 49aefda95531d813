"""Chooses a point between the initial and the trained weights, so that fine-tuning is never worse by noise.

After WiSE-FT (Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", 2022). Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from tasks.models.freezing import BATCH_NORMS
from tasks.training.state import Tensors

RowLoss = Callable[[Tensor, Tensor], Tensor]  # outputs and targets to the loss of each image, (N,)


def choose_alpha(loss_by_alpha: Mapping[float, Tensor]) -> float:
    """Returns the alpha with the highest mean gain over alpha 0 on the same images, less alpha / 2 standard errors.

    `loss_by_alpha` holds the losses (N,) on validation images; alpha 0 are the initial weights. Ties go to the lower.
    """
    first_N = loss_by_alpha[0.0].double()

    def worth(alpha: float) -> float:
        gain_N = first_N - loss_by_alpha[alpha].double()
        error = gain_N.std() / len(gain_N) ** 0.5 if len(gain_N) > 1 else 0.0
        return float(gain_N.mean() - alpha * error / 2)

    return max(sorted(loss_by_alpha), key=worth)


def between(first: Tensors, last: Tensors, alpha: float) -> Tensors:
    """Returns the weights at `alpha` of the way from `first` to `last`; counters are those of `last`."""
    return {
        name: torch.lerp(first[name], tensor, alpha) if tensor.is_floating_point() else tensor
        for name, tensor in last.items()
    }


def refresh_statistics(network: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Re-estimates the statistics of the BatchNorm layers in training mode, as the average over batches of `inputs`."""
    norms = [layer for layer in network.modules() if isinstance(layer, BATCH_NORMS) and layer.training]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # the cumulative average
    with torch.no_grad():
        for x in inputs:
            network(x)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
