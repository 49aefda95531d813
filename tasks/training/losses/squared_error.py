"""The regression loss. Shapes: N images, K targets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.training.types import Batch, Forward, Loss


def squared_error(std_K: Sequence[float]) -> Loss:
    """Returns a loss: the mean squared error of each row, (N,), each target in units of its standard deviation."""

    def loss(network: Forward, batch: Batch) -> Tensor:
        y_NK = batch.target
        error_NK = (network(batch.inputs).float() - y_NK) / torch.tensor(std_K, device=y_NK.device)
        return error_NK.square().mean(1)

    return loss
