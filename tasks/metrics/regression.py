"""Scores of predicted numbers. Shapes: N images, K targets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tasks.core.schema import Metric
from tasks.metrics.intervals import Score, with_intervals


def variance(y_NK: Tensor, spread_K: Tensor) -> Tensor:
    """Each target's variance, (K,); the square of its spread elsewhere where the values here are all the same."""
    own_K, other_K = y_NK.var(0, correction=0), spread_K.square()
    return torch.where(own_K > 1e-12 * other_K, own_K, other_K)


def r2(predicted_NK: np.ndarray, y_NK: np.ndarray, variance_K: np.ndarray) -> float:
    """The mean over targets of 1 - squared error / variance."""
    return float((1 - ((predicted_NK - y_NK) ** 2).mean(0) / variance_K).mean())


def mae(predicted_NK: np.ndarray, y_NK: np.ndarray) -> float:
    """The mean absolute error, over targets too."""
    return float(np.abs(predicted_NK - y_NK).mean())


def rmse(predicted_NK: np.ndarray, y_NK: np.ndarray) -> float:
    """The root of the mean squared error, over targets too."""
    return float(((predicted_NK - y_NK) ** 2).mean() ** 0.5)


METRICS = (Metric.R2, Metric.MAE, Metric.RMSE)


def value_scores(
    predicted_NK: np.ndarray, y_NK: np.ndarray, spread_K: Sequence[float], resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Every metric with its 95% bootstrap interval.

    R² is relative to the variance of all that is given, so that no resample is divided by next to nothing; to the
    square of the spread in training where the values here are all the same.
    """
    variance_K = variance(torch.from_numpy(y_NK), torch.tensor(spread_K, dtype=torch.float64)).numpy()
    relative = partial(r2, variance_K=variance_K)
    measures: dict[Metric, Score] = {Metric.R2: relative, Metric.MAE: mae, Metric.RMSE: rmse}
    return with_intervals(measures, predicted_NK, y_NK, resamples, seed)
