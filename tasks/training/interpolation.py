"""Chooses a point between the initial and the trained weights, as far as the gain exceeds its noise.

After WiSE-FT (Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", 2022). Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

import torch
from torch import Tensor

from tasks.training.state import Tensors
from tasks.training.types import Outputs

RowLoss = Callable[[Tensor, Tensor], Tensor]  # outputs and targets to the loss of each image, (N,)
WORST = -1e300  # worth of a model whose losses are not finite
ChooseAlpha = Callable[[Mapping[float, Outputs]], float]  # from the outputs on validation images at each alpha


def choose_by(row_loss: RowLoss) -> ChooseAlpha:
    """Returns the choice of an alpha by `choose_alpha` from the outputs at each, including alpha 0."""
    return lambda outputs: choose_alpha({alpha: row_loss(at.output, at.target) for alpha, at in outputs.items()})


def choose_alpha(loss_by_alpha: Mapping[float, Tensor]) -> float:
    """Returns the alpha with the highest mean gain over alpha 0 on the same images, less alpha / 2 standard errors.

    `loss_by_alpha` holds the losses (N,) on validation images; alpha 0 are the initial weights. Ties go to the lower.
    """
    first_N = loss_by_alpha[0.0]
    return max(sorted(loss_by_alpha), key=lambda alpha: worth(first_N, loss_by_alpha[alpha], alpha))


def worth(first_N: Tensor, loss_N: Tensor, alpha: float) -> float:
    """Returns the mean gain of the losses (N,) over `first_N`, less alpha / 2 standard errors; WORST if not finite."""
    mean, error = gain_of(first_N, loss_N)
    value = mean - alpha * error / 2
    return value if isfinite(value) else WORST


def gain_of(first_N: Tensor, loss_N: Tensor) -> tuple[float, float]:
    """Returns the mean of the paired gains, (N,), and its standard error; 0 for a single image."""
    gain_N = first_N.cpu().double() - loss_N.cpu().double()  # MPS lacks float64
    return float(gain_N.mean()), float(gain_N.std() / len(gain_N) ** 0.5) if len(gain_N) > 1 else 0.0


def between(first: Tensors, last: Tensors, alpha: float) -> Tensors:
    """Returns the weights at `alpha` of the way from `first` to `last`; counters are those of `last`."""
    return {
        name: torch.lerp(first[name], tensor, alpha) if tensor.is_floating_point() else tensor
        for name, tensor in last.items()
    }
