"""Selective classification: the risk of accepted predictions against coverage, the fraction of accepted images.

After Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks" (2017), with the empirical risk in place
of their bound. Shapes: N images, T thresholds.
"""

from __future__ import annotations

import numpy as np


def risk_coverage(confidence_N: np.ndarray, hit_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns coverage, risk and threshold for each distinct confidence of (N,), highest first, (T,) each.

    The risk is the error rate among the images at or above the threshold.
    """
    order = np.argsort(-confidence_N, kind="stable")
    sorted_N, wrong_N = confidence_N[order], ~hit_N[order].astype(bool)
    answered_N = np.arange(1, len(sorted_N) + 1)
    last = np.append(sorted_N[1:] != sorted_N[:-1], True)
    return (answered_N / len(sorted_N))[last], (wrong_N.cumsum() / answered_N)[last], sorted_N[last]


def threshold_for(confidence_N: np.ndarray, hit_N: np.ndarray, risk: float) -> float:
    """Returns the threshold with the highest coverage at a risk of at most `risk`, from (N,) validation predictions.

    Returns a value above 1, which rejects every image, if no threshold meets the risk.
    """
    coverage, risks, thresholds = risk_coverage(confidence_N, hit_N)
    allowed = np.flatnonzero(risks <= risk)
    if not len(allowed):
        return 1.0 + 1e-6
    widest = allowed[-1]
    return 0.0 if coverage[widest] == 1 else float(thresholds[widest])


def coverage_and_risk(confidence_N: np.ndarray, hit_N: np.ndarray, threshold: float) -> tuple[float, float]:
    """Returns coverage and risk of (N,) predictions at a threshold; the risk is 0 if no image is accepted."""
    answered_N = confidence_N >= threshold
    return float(answered_N.mean()), float(1 - hit_N[answered_N].mean()) if answered_N.any() else 0.0
