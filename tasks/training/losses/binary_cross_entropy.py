"""Several labels an image: the mean over labels of the binary cross-entropy. Shapes: N images, C labels."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def binary_cross_entropy(smoothing: float = 0.0) -> Callable[..., Tensor]:
    """A loss a row, (N,), of a network, inputs (N, 3, S, S) and labels (N, C) of 0 and 1, drawn that much to a half."""

    def loss(network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y_NC: Tensor) -> Tensor:
        truth_NC = y_NC * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(network(x_N3SS).float(), truth_NC, reduction="none").mean(1)

    return loss
