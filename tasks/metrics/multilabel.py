"""Scores where an image may have several labels, or none. Shapes: V validation images, N images, C labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tasks.core.schema import Metric
from tasks.metrics.intervals import with_intervals


def label_macro_f1(given_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The mean F1 of the labels that some image has or was given, where an image may have several; 1 without any."""
    true_NC = y_NC > 0.5
    hits_C, all_C = (given_NC & true_NC).sum(0), given_NC.sum(0) + true_NC.sum(0)
    return float((2 * hits_C[all_C > 0] / all_C[all_C > 0]).mean()) if all_C.any() else 1.0


def thresholds_for(probability_VC: np.ndarray, y_VC: np.ndarray) -> np.ndarray:
    """The threshold of each label with the best F1 on validation, (C,), between two probabilities that occur.

    A half for a label that no validation image has; the one nearest a half where several are best.
    """
    return np.array([_best_threshold(p_V, y_V > 0.5) for p_V, y_V in zip(probability_VC.T, y_VC.T, strict=True)])


def _best_threshold(probability_V: np.ndarray, true_V: np.ndarray) -> float:
    if not true_V.any():
        return 0.5
    order_V = np.argsort(-probability_V)
    sorted_V, hits_V = probability_V[order_V], np.cumsum(true_V[order_V])
    f1_V = 2 * hits_V / (np.arange(1, len(order_V) + 1) + true_V.sum())  # with the first, the first two, ... given
    below_V = np.append(sorted_V[1:], 0.0)
    best = (f1_V >= f1_V[sorted_V > below_V].max() - 1e-12) & (sorted_V > below_V)
    if (best & (below_V < 0.5) & (sorted_V >= 0.5)).any():
        return 0.5
    middle = ((sorted_V + below_V) / 2)[best]
    return float(middle[np.abs(middle - 0.5).argmin()])


def exact(given_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The fraction of images whose labels are all given, and no others."""
    return float((given_NC == (y_NC > 0.5)).all(1).mean())


def nll(probability_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The mean over labels and images of the negative log-likelihood, in nats."""
    likely_NC = np.where(y_NC > 0.5, probability_NC, 1 - probability_NC).astype(np.float64)
    return float(-np.log(np.maximum(likely_NC, 1e-12)).mean())


def mean_average_precision(probability_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The mean of the average precision of the labels that some image has."""
    from sklearn.metrics import average_precision_score

    present_C = (y_NC > 0.5).any(0)
    if not present_C.any():
        return 0.0
    return float(average_precision_score(y_NC[:, present_C] > 0.5, probability_NC[:, present_C], average="macro"))


def label_scores(
    probability_NC: np.ndarray, y_NC: np.ndarray, threshold_C: np.ndarray, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Every metric with its 95% interval."""
    measures: dict[Metric, Callable[[np.ndarray, np.ndarray], float]] = {
        Metric.ACCURACY: partial(_of_given, exact, threshold_C),
        Metric.MACRO_F1: partial(_of_given, label_macro_f1, threshold_C),
        Metric.MAP: mean_average_precision,
        Metric.NLL: nll,
    }
    return with_intervals(measures, probability_NC, y_NC, resamples, seed)


def _of_given(
    measure: Callable[[np.ndarray, np.ndarray], float],
    threshold_C: np.ndarray,
    probability_NC: np.ndarray,
    y_NC: np.ndarray,
) -> float:
    return measure(probability_NC >= threshold_C, y_NC)
