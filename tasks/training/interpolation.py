"""Chooses a point between the initial and the trained weights, so that chance alone rarely moves a model.

After WiSE-FT (Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", 2022). Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

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
