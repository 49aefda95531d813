"""Regression metrics. Shapes: N images, K targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tasks.core.schema import HIGH, LOW, VALUE, Metric
from tasks.metrics import intervals
from tasks.metrics.variance import variance


def r2(predicted_NK: np.ndarray, y_NK: np.ndarray, variance_K: np.ndarray) -> np.ndarray:
    """Returns R² of each target, (K,), from (N, K) predictions: 1 - mean squared error / variance."""
    return np.asarray(1 - ((predicted_NK - y_NK) ** 2).mean(0) / variance_K)


def value_scores(predicted_NK: np.ndarray, y_NK: np.ndarray, std_K: Sequence[float]) -> dict[str, dict[str, float]]:
    """Returns every metric of (N, K) predictions; errors of several targets in standard deviations of training.

    Targets have units of their own, so their errors are never pooled: see `target_scores`. Errors have a 95% interval;
    metrics of squared errors have none, since a few images decide over them. R² divides by the variance of the N
    values, or by the square of `std_K`, (K,), if they are all equal.
    """
    variance_K = variance(torch.tensor(y_NK), torch.tensor(std_K, dtype=torch.float64)).numpy()
    of_fit = {Metric.R2.value: intervals.score(float(r2(predicted_NK, y_NK, variance_K).mean()))}
    error_NK = np.abs(predicted_NK - y_NK)
    if len(std_K) > 1:
        scaled_N = scaled_errors(error_NK, std_K)
        return of_fit | {Metric.SCALED_MAE: intervals.score(float(scaled_N.mean()), intervals.mean_interval(scaled_N))}
    return of_fit | {
        Metric.MAE: intervals.score(float(error_NK.mean()), intervals.mean_interval(error_NK[:, 0])),
        Metric.RMSE: intervals.score(float((error_NK**2).mean() ** 0.5)),
    }


def scaled_errors(error_NK: np.ndarray, std_K: Sequence[float]) -> np.ndarray:
    """Returns the mean over targets of each image's absolute errors (N, K) in standard deviations: (N,)."""
    return np.asarray((error_NK / np.array(std_K)).mean(1))


def target_scores(
    predicted_NK: np.ndarray, y_NK: np.ndarray, std_K: Sequence[float], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Returns the metrics of each target by name: mean absolute error with its interval, RMSE and R²."""
    table = {}
    for index, name in enumerate(names):
        column = slice(index, index + 1)
        metrics = value_scores(predicted_NK[:, column], y_NK[:, column], std_K[column])
        error = metrics.pop(Metric.MAE)
        table[name] = {Metric.MAE.value: error[VALUE], LOW: error[LOW], HIGH: error[HIGH]}
        table[name] |= {metric: score[VALUE] for metric, score in metrics.items()}
    return table
