"""Regression metrics. Shapes: N images, K targets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tasks.core.schema import Metric
from tasks.metrics.intervals import Score, with_intervals


def variance(y_NK: Tensor, std_K: Tensor) -> Tensor:
    """Returns the variance of each target of (N, K), or the square of `std_K` if its values are constant."""
    variance_K, fallback_K = y_NK.var(0, correction=0), std_K.square()
    return torch.where(variance_K > 1e-12 * fallback_K, variance_K, fallback_K)


def r2(predicted_NK: np.ndarray, y_NK: np.ndarray, variance_K: np.ndarray) -> float:
    """Returns R² of (N, K) predictions, 1 - mean squared error / variance, averaged over targets."""
    return float((1 - ((predicted_NK - y_NK) ** 2).mean(0) / variance_K).mean())


def mae(predicted_NK: np.ndarray, y_NK: np.ndarray) -> float:
    """Returns the mean absolute error over images and targets, (N, K)."""
    return float(np.abs(predicted_NK - y_NK).mean())


def rmse(predicted_NK: np.ndarray, y_NK: np.ndarray) -> float:
    """Returns the root mean squared error over images and targets, (N, K)."""
    return float(((predicted_NK - y_NK) ** 2).mean() ** 0.5)


def value_scores(
    predicted_NK: np.ndarray, y_NK: np.ndarray, std_K: Sequence[float], resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Returns every metric of (N, K) predictions with its 95% bootstrap interval.

    R² divides by the variance of all N values, not of the resample, which may be almost constant; if all N values are
    equal, it divides by the squared standard deviation in training, `std_K`.
    """
    variance_K = variance(torch.from_numpy(y_NK), torch.tensor(std_K, dtype=torch.float64)).numpy()
    relative = partial(r2, variance_K=variance_K)
    measures: dict[Metric, Score] = {Metric.R2: relative, Metric.MAE: mae, Metric.RMSE: rmse}
    return with_intervals(measures, predicted_NK, y_NK, resamples, seed)
