"""Selective classification: the risk of accepted predictions against coverage, the fraction of accepted images.

After Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks" (2017), with another search for the
threshold. Shapes: N images, T thresholds.
"""

from __future__ import annotations

from math import ceil, log, log1p

import numpy as np

ERROR = 0.05  # probability that the true risk exceeds the accepted one
START_COUNTS = (3, 1)  # numbers of starts: three if there are enough images, else one
STEPS = 50  # thresholds that are tried from a start
NO_THRESHOLD = 1.0 + 1e-6  # above every probability


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
    """Returns a threshold whose true risk is at most `risk` at the 95% confidence level, with a coverage that is high.

    From (N,) validation predictions: thresholds are lowered from each of a few starts until the first whose binomial
    bound exceeds the risk (fixed sequence testing, Angelopoulos et al., "Learn then Test", 2021). Returns NO_THRESHOLD,
    which rejects every image, if there is none: see `min_images`.
    """
    coverage_T, risk_T, threshold_T = risk_coverage(confidence_N, hit_N)
    count_T = np.rint(coverage_T * len(hit_N))
    wrong_T = np.rint(risk_T * count_T)
    starts = START_COUNTS[0] if min_images(risk, START_COUNTS[0]) <= len(hit_N) else START_COUNTS[-1]
    passed = []
    for start in np.geomspace(min_images(risk, starts), max(len(hit_N), 1), starts + 1)[:-1]:
        counts = np.append(np.arange(np.rint(start), len(hit_N), max(len(hit_N) // STEPS, 1)), len(hit_N))
        tried = np.searchsorted(count_T, counts)
        passes = _upper_bound(wrong_T[tried], count_T[tried], ERROR / starts) <= risk
        passed += list(tried[: len(passes) if passes.all() else passes.argmin()])
    if not passed:
        return NO_THRESHOLD
    return 0.0 if count_T[max(passed)] == len(hit_N) else float(threshold_T[max(passed)])


def min_images(risk: float, starts: int = 1) -> int:
    """Returns the number of correct predictions without an error that show a risk of at most `risk`."""
    return ceil(log(ERROR / starts) / log1p(-risk))


def _upper_bound(wrong_T: np.ndarray, count_T: np.ndarray, error: float) -> np.ndarray:
    """Returns the upper confidence bound of the error rate, (T,) (Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    bound_T = beta.ppf(1 - error, wrong_T + 1, np.maximum(count_T - wrong_T, 1))
    return np.asarray(np.where(wrong_T < count_T, bound_T, 1.0))


def coverage_and_risk(confidence_N: np.ndarray, hit_N: np.ndarray, threshold: float) -> tuple[float, float]:
    """Returns coverage and risk of (N,) predictions at a threshold; the risk is 0 if no image is accepted."""
    answered_N = confidence_N >= threshold
    return float(answered_N.mean()), float(1 - hit_N[answered_N].mean()) if answered_N.any() else 0.0
