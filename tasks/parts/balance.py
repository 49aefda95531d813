"""Classes of unequal size: rows weighted or drawn as if they were equal, or the logits adjusted."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor


class Balance(StrEnum):
    """How classes of unequal size are learned."""

    NONE = "none"
    WEIGHTS = "weights"
    SAMPLING = "sampling"
    LOGITS = "logits"


def balanced(weight_N: Tensor, y_N: Tensor, classes: int) -> Tensor:
    """The rows' weights, (N,), such that every class weighs the same and all rows together what they weighed."""
    class_C = torch.zeros(classes, dtype=weight_N.dtype).scatter_add(0, y_N, weight_N)
    present = (class_C > 0).sum()
    return weight_N * (weight_N.sum() / present / class_C.clamp_min(1e-12))[y_N]


def log_prior(weight_N: Tensor, y_N: Tensor, classes: int) -> Tensor:
    """Logs of the classes' shares of the rows, (C,)."""
    class_C = torch.zeros(classes).scatter_add(0, y_N, weight_N.float())
    return (class_C / class_C.sum()).clamp_min(1e-12).log()
