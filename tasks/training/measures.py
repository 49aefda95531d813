"""Measures outputs on validation images: a loss for comparing epochs, and a score.

Shapes: N images, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.metrics.variance import variance
from tasks.training.class_balance import equal_class_weights
from tasks.training.types import Measure


def measure_classes(logits_NC: Tensor, y_N: Tensor) -> tuple[float, float]:
    """Returns mean cross-entropy and accuracy of logits (N, C) for classes (N,)."""
    return F.cross_entropy(logits_NC, y_N).item(), (logits_NC.argmax(1) == y_N).float().mean().item()


def measure_labels(logits_NC: Tensor, y_NC: Tensor) -> tuple[float, float]:
    """Returns binary cross-entropy of logits (N, C) and macro F1 at 0.5 (over labels that occur or are predicted)."""
    loss = F.binary_cross_entropy_with_logits(logits_NC, y_NC.to(logits_NC.dtype))
    predicted_NC, true_NC = logits_NC >= 0, y_NC > 0.5
    hits_C, all_C = (predicted_NC & true_NC).sum(0), predicted_NC.sum(0) + true_NC.sum(0)
    f1_C = 2 * hits_C[all_C > 0] / all_C[all_C > 0]
    return loss.item(), f1_C.mean().item() if len(f1_C) else 1.0


def measure_values(std_K: Sequence[float]) -> Measure:
    """Returns a measure of values (N, K): squared error in units of `std_K`, and the mean over targets of R²."""

    def measure(output_NK: Tensor, y_NK: Tensor) -> tuple[float, float]:
        error_K = (output_NK - y_NK).square().mean(0)
        loss = (error_K / torch.tensor(std_K, device=y_NK.device).square()).mean()
        variance_K = variance(y_NK, torch.tensor(std_K, device=y_NK.device))
        return loss.item(), (1 - error_K / variance_K).mean().item()

    return measure


def measure_balanced(logits_NC: Tensor, y_N: Tensor) -> tuple[float, float]:
    """Returns the cross-entropy of logits (N, C), weighted to balanced classes, and the plain accuracy."""
    loss_N = F.cross_entropy(logits_NC, y_N, reduction="none")
    equal_N = equal_class_weights(y_N, logits_NC.shape[1])
    accuracy = (logits_NC.argmax(1) == y_N).float().mean()
    return (loss_N * equal_N).mean().item(), accuracy.item()
