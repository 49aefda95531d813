"""Compensates class imbalance by row weights or by a log prior on the logits. Shapes: N rows, C classes."""

from __future__ import annotations

import torch
from torch import Tensor


def balance_weights(weight_N: Tensor, y_N: Tensor, classes: int) -> Tensor:
    """Rescales `weight_N`, (N,), so that every class has the same total weight; the sum over rows is unchanged."""
    class_C = torch.zeros(classes, dtype=weight_N.dtype, device=weight_N.device).scatter_add(0, y_N, weight_N)
    present = (class_C > 0).sum()
    return weight_N * (weight_N.sum() / present / class_C.clamp_min(1e-12))[y_N]


def equal_class_weights(y_N: Tensor, classes: int) -> Tensor:
    """Returns row weights, (N,), with a mean of 1 and the same total for every class of `y_N`."""
    return balance_weights(torch.ones(len(y_N), device=y_N.device), y_N, classes)


def log_prior(weight_N: Tensor, y_N: Tensor, classes: int) -> Tensor:
    """Returns the log of each class's fraction of the total weight, (C,)."""
    class_C = torch.zeros(classes).scatter_add(0, y_N, weight_N.float())
    return (class_C / class_C.sum()).clamp_min(1e-12).log()
