"""Supervised learning on labels: the cross-entropy. Shapes: N images, C classes."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(smoothing: float = 0.0, log_prior_C: Tensor | None = None) -> Callable[..., Tensor]:
    """A loss a row, (N,), of a network, inputs (N, 3, S, S) and classes (N,).

    `smoothing` spreads that share of the truth over all classes (Szegedy et al., 2016). `log_prior_C`, logs of the
    classes' shares of the training rows, are added to the logits that are learned, so that what the network itself
    gives is balanced (Menon et al., "Long-tail learning via logit adjustment", 2021).
    """

    def loss(network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y_N: Tensor) -> Tensor:
        logits_NC = network(x_N3SS).float()
        if log_prior_C is not None:
            logits_NC = logits_NC + log_prior_C.to(logits_NC.device)
        return F.cross_entropy(logits_NC, y_N, reduction="none", label_smoothing=smoothing)

    return loss
