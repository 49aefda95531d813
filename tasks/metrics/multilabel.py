"""Multi-label metrics and thresholds. Shapes: V validation images, N images, C labels."""

from __future__ import annotations

import numpy as np

from tasks.core.schema import Metric
from tasks.metrics import intervals
from tasks.metrics.average_precision import mean_average_precision
from tasks.metrics.f1 import label_memberships


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


def nll_per_image(probability_NC: np.ndarray, y_NC: np.ndarray) -> np.ndarray:
    """Returns the negative log-likelihood of each image, (N,), averaged over labels, (N, C), in nats."""
    likelihood_NC = np.where(y_NC > 0.5, probability_NC, 1 - probability_NC).astype(np.float64)
    return np.asarray(-np.log(np.maximum(likelihood_NC, 1e-12)).mean(1))


def label_scores(probability_NC: np.ndarray, y_NC: np.ndarray, threshold_C: np.ndarray) -> dict[str, dict[str, float]]:
    """Returns every metric of (N, C) probabilities, with its 95% interval; mean average precision has none."""
    predicted_NC, true_NC = probability_NC >= threshold_C, y_NC > 0.5
    rate = exact(predicted_NC, y_NC)
    loss_N = nll_per_image(probability_NC, y_NC)
    wrong = int((predicted_NC != true_NC).any(1).sum())
    of_f1 = intervals.f1_interval(label_memberships(predicted_NC), label_memberships(true_NC), exclusive=False)
    return {
        Metric.ACCURACY: intervals.score(rate, intervals.hit_interval(rate, len(y_NC))),
        Metric.MACRO_F1: intervals.score(label_macro_f1(predicted_NC, y_NC), of_f1),
        Metric.MAP: intervals.score(mean_average_precision(probability_NC, y_NC)),
        Metric.NLL: intervals.score(float(loss_N.mean()), intervals.nll_interval(loss_N, wrong)),
    }
