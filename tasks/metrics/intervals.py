"""95% confidence intervals of scores over images. Shapes: N images, C classes or targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt
from statistics import NormalDist

import numpy as np

from tasks.core.schema import HIGH, LOW, VALUE, Metric

Score = Callable[[np.ndarray, np.ndarray], float]


def interval(
    score: Score, probability_NC: np.ndarray, y_N: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    """Returns the 95% percentile bootstrap interval of a score of (N, C) predictions (Efron and Tibshirani, 1993)."""
    random = np.random.default_rng(seed)
    draws = (random.integers(0, len(y_N), len(y_N)) for _ in range(resamples))
    scores = [score(probability_NC[draw], y_N[draw]) for draw in draws]
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)


def hit_interval(rate: float, count: int) -> tuple[float, float]:
    """Returns the 95% interval of a hit rate (Wilson, 1927); unlike a bootstrap's, its width is never 0."""
    z = NormalDist().inv_cdf(0.975)
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def with_intervals(
    measures: Mapping[Metric, Score], predicted: np.ndarray, y: np.ndarray, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Returns each metric of (N, C) predictions with its 95% interval: Wilson's for accuracy, otherwise a bootstrap."""
    table = {}
    for metric, measure in measures.items():
        value = measure(predicted, y)
        hits = metric is Metric.ACCURACY
        low, high = hit_interval(value, len(y)) if hits else interval(measure, predicted, y, resamples, seed)
        table[metric.value] = {VALUE: value, LOW: low, HIGH: high}
    return table
