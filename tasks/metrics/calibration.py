"""Calibration of probabilities: its error, and temperature scaling. Shapes: N images, C classes, B bins."""

from __future__ import annotations

from math import exp, log

import numpy as np
import torch
from torch import Tensor


def ece(confidence_N: np.ndarray, hit_N: np.ndarray, bins: int) -> float:
    """Returns the expected calibration error of predictions, (N,) each, over equal-width bins of confidence.

    Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    confidence, accuracy, share = reliability_bins(confidence_N, hit_N, bins)
    return float((np.abs(accuracy - confidence) * share).sum())


def reliability_bins(
    confidence_N: np.ndarray, hit_N: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean confidence, accuracy and share of images of each non-empty confidence bin, at most (B,) each."""
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    count = np.bincount(bin_N, minlength=bins)
    filled = count > 0
    confidence, accuracy = (
        np.bincount(bin_N, weights=weight_N, minlength=bins)[filled] / count[filled]
        for weight_N in (confidence_N, hit_N)
    )
    return confidence, accuracy, count[filled] / len(hit_N)


def temperature(logits_NC: Tensor, y_N: Tensor, weight_N: Tensor | None = None, *, cautious: bool = False) -> float:
    """Returns the T between 1/20 and 20 that minimizes the cross-entropy of softmax(logits / T) (Guo et al., 2017).

    `logits_NC` are (N, C); labels and weights are (N,). Uses bisection, since the loss is convex in 1/T. If all
    predictions are correct, the loss has no minimum; `cautious` ensures a minimum by smoothing the labels by 0.5 / (N +
    1) (after Krichevsky and Trofimov, 1981), so that N correct predictions do not make the model certain.
    """
    if logits_NC.is_mps:  # MPS lacks float64
        logits_NC, y_N = logits_NC.cpu(), y_N.cpu()
    logits_NC = logits_NC.double()
    weight_N = torch.ones_like(logits_NC[:, 0]) if weight_N is None else weight_N.to(logits_NC)
    true_N = logits_NC.gather(1, y_N[:, None])[:, 0]
    if cautious:
        true_N = true_N.lerp(logits_NC.mean(1), 0.5 / (len(y_N) + 1))
    low, high = -log(20), log(20)
    while high - low > 1e-4:
        middle = (low + high) / 2
        expected_N = ((logits_NC / exp(middle)).softmax(1) * logits_NC).sum(1)
        is_underconfident = weight_N @ (true_N - expected_N) > 0
        low, high = (low, middle) if is_underconfident else (middle, high)
    return exp((low + high) / 2)
