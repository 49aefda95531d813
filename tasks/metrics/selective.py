"""Answering only when sure enough: the risk of the answers given, over the share of images answered.

After Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks" (2017), with the empirical risk in
place of their bound. Shapes: N images.
"""

from __future__ import annotations

import numpy as np


def risk_coverage(confidence_N: np.ndarray, hit_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each threshold that tells images apart: coverage, risk among the images at or above it, and the threshold.

    Surest first, (T,) each; images of equal confidence are answered together.
    """
    order = np.argsort(-confidence_N, kind="stable")
    sure_N, wrong_N = confidence_N[order], ~hit_N[order].astype(bool)
    answered_N = np.arange(1, len(sure_N) + 1)
    last = np.append(sure_N[1:] != sure_N[:-1], True)
    return (answered_N / len(sure_N))[last], (wrong_N.cumsum() / answered_N)[last], sure_N[last]


def threshold_for(confidence_N: np.ndarray, hit_N: np.ndarray, risk: float) -> float:
    """The confidence from which answers are given, so that most images get one and at most `risk` of these are wrong.

    To be chosen on validation. Above 1, so that nothing is answered, where no threshold will do.
    """
    coverage, risks, thresholds = risk_coverage(confidence_N, hit_N)
    allowed = np.flatnonzero(risks <= risk)
    if not len(allowed):
        return 1.0 + 1e-6
    widest = allowed[-1]
    return 0.0 if coverage[widest] == 1 else float(thresholds[widest])


def coverage_and_risk(confidence_N: np.ndarray, hit_N: np.ndarray, threshold: float) -> tuple[float, float]:
    """Returns the coverage and the risk at a threshold, of (N,) each; the risk is 0 if no image is answered."""
    answered_N = confidence_N >= threshold
    return float(answered_N.mean()), float(1 - hit_N[answered_N].mean()) if answered_N.any() else 0.0
