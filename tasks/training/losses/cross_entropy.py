"""The single-label classification loss. Shapes: N images, C classes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tasks.training.types import Batch, Forward, Loss


def cross_entropy(smoothing: float = 0.0, log_prior_C: Tensor | None = None) -> Loss:
    """Returns a loss: the cross-entropy of each row, (N,).

    `smoothing`: label smoothing (Szegedy et al., 2016). `log_prior_C`, (C,), the log class frequencies of the training
    rows, is added to the logits only in the loss, so that the network's own logits are balanced (Menon et al.,
    "Long-tail learning via logit adjustment", 2021).
    """

    def loss(network: Forward, batch: Batch) -> Tensor:
        logits_NC = network(batch.inputs).float()
        if log_prior_C is not None:
            logits_NC = logits_NC + log_prior_C.to(logits_NC.device)
        return F.cross_entropy(logits_NC, batch.target, reduction="none", label_smoothing=smoothing)

    return loss
