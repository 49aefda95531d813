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


def measure_labels(logits_NC: Tensor, y_NC: Tensor) -> tuple[float, float]:
    """The same loss, and the mean F1 of the labels that are there or given, where their probability reaches a half."""
    loss = F.binary_cross_entropy_with_logits(logits_NC, y_NC.to(logits_NC.dtype))
    given_NC, true_NC = logits_NC >= 0, y_NC > 0.5
    hits_C, all_C = (given_NC & true_NC).sum(0), given_NC.sum(0) + true_NC.sum(0)
    f1_C = 2 * hits_C[all_C > 0] / all_C[all_C > 0]
    return loss.item(), f1_C.mean().item() if len(f1_C) else 1.0
