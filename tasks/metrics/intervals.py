"""95% confidence intervals of scores over images: Wilson's for hits, Student's t with one more image for means.

A metric has an interval only if it covers the truth often enough in simulation (make bench ARGS=coverage).
Shapes: N images, C classes or labels.
"""

from __future__ import annotations

from math import inf, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.schema import HIGH, LOW, VALUE
from tasks.metrics.f1 import f1_shares, rarest_and_mistaken, with_row

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Bounds = tuple[float, float]
TAIL = 0.025  # error probability of each bound
MIN_WRONG = 10  # wrong images for an interval of NLL: below, the largest losses are yet to be seen


def score(value: float, bounds: Bounds | None = None) -> dict[str, float]:
    """Returns a score as in metrics.json: its value, and its bounds unless there are none."""
    return {VALUE: value} | ({LOW: bounds[0], HIGH: bounds[1]} if bounds else {})


def hit_interval(rate: float, count: int) -> Bounds:
    """Returns the 95% interval of a hit rate (Wilson, 1927); its width is never 0."""
    z = NormalDist().inv_cdf(1 - TAIL)
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def t_bounds(value_N: np.ndarray, error: float) -> Bounds:
    """Returns the bounds of the mean of (N,), each with error probability `error` (Student's t); infinite for N < 2."""
    from scipy.stats import t as student

    if len(value_N) < 2:
        return -inf, inf
    half = float(student.ppf(1 - error, len(value_N) - 1)) * float(value_N.std(ddof=1)) / sqrt(len(value_N))
    return float(value_N.mean()) - half, float(value_N.mean()) + half


def mean_interval(value_N: np.ndarray) -> Bounds:
    """Returns the 95% interval of a mean over images, (N,), of values that are not negative.

    Each bound has one more image, as small as the smallest or as large as the largest: the images may lack the rare
    large values on which a skewed mean depends.
    """
    low, _ = t_bounds(np.append(value_N, value_N.min()), TAIL)
    _, high = t_bounds(np.append(value_N, value_N.max()), TAIL)
    return max(low, 0.0), high


def nll_interval(loss_N: np.ndarray, wrong: int) -> Bounds | None:
    """Returns the 95% interval of the mean loss (N,), or None if too few images are wrong."""
    return mean_interval(loss_N) if wrong >= MIN_WRONG else None


def f1_interval(predicted_NC: csr_array, true_NC: csr_array, *, exclusive: bool) -> Bounds:
    """Returns the 95% interval of macro F1 from memberships (N, C); `exclusive`: one class an image.

    Each bound has one more image of the rarest class, mistaken or recognized.
    """
    right_C, wrong_C = rarest_and_mistaken(true_NC, exclusive=exclusive)
    true_MC = with_row(true_NC, right_C)
    low, high = (t_bounds(f1_shares(with_row(predicted_NC, row_C), true_MC), TAIL) for row_C in (wrong_C, right_C))
    return max(low[0], 0.0), min(high[1], 1.0)
