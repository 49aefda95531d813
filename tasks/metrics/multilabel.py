"""Multi-label metrics and thresholds. Shapes: V validation images, N images, C labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tasks.core.schema import Metric
from tasks.metrics.intervals import with_intervals


def label_macro_f1(predicted_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """Returns the mean F1 over the labels that occur in `y_NC` or the predictions, (N, C) bool; 1 if there are none."""
    true_NC = y_NC > 0.5
    hits_C, all_C = (predicted_NC & true_NC).sum(0), predicted_NC.sum(0) + true_NC.sum(0)
    return float((2 * hits_C[all_C > 0] / all_C[all_C > 0]).mean()) if all_C.any() else 1.0


def thresholds_for(probability_VC: np.ndarray, y_VC: np.ndarray) -> np.ndarray:
    """Returns the threshold per label, (C,), with the best F1 on validation probabilities, (V, C).

    Thresholds lie midway between neighboring probabilities. Ties go to the threshold nearest 0.5; a label that no
    validation image has gets 0.5.
    """
    return np.array([_best_threshold(p_V, y_V > 0.5) for p_V, y_V in zip(probability_VC.T, y_VC.T, strict=True)])


def _best_threshold(probability_V: np.ndarray, true_V: np.ndarray) -> float:
    if not true_V.any():
        return 0.5
    order_V = np.argsort(-probability_V)
    sorted_V, hits_V = probability_V[order_V], np.cumsum(true_V[order_V])
    f1_V = 2 * hits_V / (np.arange(1, len(order_V) + 1) + true_V.sum())  # of predicting the top 1, 2, ..., V
    below_V = np.append(sorted_V[1:], 0.0)
    best = (f1_V >= f1_V[sorted_V > below_V].max() - 1e-12) & (sorted_V > below_V)
    if (best & (below_V < 0.5) & (sorted_V >= 0.5)).any():
        return 0.5
    midpoint = ((sorted_V + below_V) / 2)[best]
    return float(midpoint[np.abs(midpoint - 0.5).argmin()])


def exact(predicted_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """Returns the fraction of images whose predicted labels match the true labels exactly, (N, C) bool each."""
    return float((predicted_NC == (y_NC > 0.5)).all(1).mean())


def nll(probability_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """Returns the mean negative log-likelihood over images and labels, (N, C), in nats."""
    likelihood_NC = np.where(y_NC > 0.5, probability_NC, 1 - probability_NC).astype(np.float64)
    return float(-np.log(np.maximum(likelihood_NC, 1e-12)).mean())


def mean_average_precision(probability_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """Returns the mean average precision of probabilities (N, C) over the labels that occur in `y_NC`."""
    from sklearn.metrics import average_precision_score

    present_C = (y_NC > 0.5).any(0)
    if not present_C.any():
        return 0.0
    return float(average_precision_score(y_NC[:, present_C] > 0.5, probability_NC[:, present_C], average="macro"))


def label_scores(
    probability_NC: np.ndarray, y_NC: np.ndarray, threshold_C: np.ndarray, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Returns every metric of (N, C) probabilities with its 95% interval."""
    measures: dict[Metric, Callable[[np.ndarray, np.ndarray], float]] = {
        Metric.ACCURACY: partial(_at_threshold, exact, threshold_C),
        Metric.MACRO_F1: partial(_at_threshold, label_macro_f1, threshold_C),
        Metric.MAP: mean_average_precision,
        Metric.NLL: nll,
    }
    return with_intervals(measures, probability_NC, y_NC, resamples, seed)


def _at_threshold(
    measure: Callable[[np.ndarray, np.ndarray], float],
    threshold_C: np.ndarray,
    probability_NC: np.ndarray,
    y_NC: np.ndarray,
) -> float:
    return measure(probability_NC >= threshold_C, y_NC)
