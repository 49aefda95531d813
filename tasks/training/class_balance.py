"""Classes of unequal size: rows weighted or drawn as if they were equal, or the logits adjusted."""

from __future__ import annotations

import torch
from torch import Tensor


def balanced(weight_N: Tensor, y_N: Tensor, classes: int) -> Tensor:
    """The rows' weights, (N,), such that every class weighs the same and all rows together what they weighed."""
    class_C = torch.zeros(classes, dtype=weight_N.dtype, device=weight_N.device).scatter_add(0, y_N, weight_N)
    present = (class_C > 0).sum()
    return weight_N * (weight_N.sum() / present / class_C.clamp_min(1e-12))[y_N]


def equal(y_N: Tensor, classes: int) -> Tensor:
    """Weights of the rows, (N,), such that every class weighs the same; their mean is 1."""
    return balanced(torch.ones(len(y_N), device=y_N.device), y_N, classes)


def log_prior(weight_N: Tensor, y_N: Tensor, classes: int) -> Tensor:
    """Logs of the classes' shares of the rows, (C,)."""
    class_C = torch.zeros(classes).scatter_add(0, y_N, weight_N.float())
    return (class_C / class_C.sum()).clamp_min(1e-12).log()
