"""How well probabilities fit frequencies. Shapes: N images, C classes."""

from __future__ import annotations

from math import exp, log

import numpy as np
import torch
from torch import Tensor


def ece(probability_NC: np.ndarray, y_N: np.ndarray, bins: int) -> float:
    """Expected calibration error in equal bins of confidence (Guo et al., "On Calibration of ...", 2017)."""
    confidence, right, share = reliability_bins(probability_NC, y_N, bins)
    return float((np.abs(right - confidence) * share).sum())


def reliability_bins(
    probability_NC: np.ndarray, y_N: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, fraction right and share of images of each bin of confidence that is not empty."""
    confidence_N, hit_N = probability_NC.max(1), probability_NC.argmax(1) == y_N
    place_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    count = np.bincount(place_N, minlength=bins)
    filled = count > 0
    means = [np.bincount(place_N, weights=of, minlength=bins)[filled] / count[filled] for of in (confidence_N, hit_N)]
    return means[0], means[1], count[filled] / len(y_N)


def temperature(logits_NC: Tensor, y_N: Tensor, weight_N: Tensor | None = None, *, cautious: bool = False) -> float:
    """The temperature that minimises the loss of softmax(logits / T), between 1/20 and 20 (Guo et al., 2017).

    By bisection, as the loss is convex in 1/T: it needs no gradient, and ends where all answers are right too. There
    the loss has no minimum; `cautious` has one, as it takes a truth for uniform with a chance of half an image among
    them (after Krichevsky and Trofimov, 1981): N right answers do not make a model sure of everything.
    """
    if logits_NC.is_mps:  # it has no float64
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
        unsure = weight_N @ (true_N - expected_N) > 0
        low, high = (low, middle) if unsure else (middle, high)
    return exp((low + high) / 2)
