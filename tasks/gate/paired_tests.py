"""Tests of paired differences: Tango's score interval, Student's t with one more loss, and Holm's correction.

Shapes: N images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np

from tasks.metrics.intervals import t_bounds

NORMAL = NormalDist()


@dataclass(frozen=True)
class PairedScores:
    """The candidate's and the live model's scores on the same images, (N,) each; higher is better."""

    candidate_N: np.ndarray
    live_N: np.ndarray

    def subset(self, inside_N: np.ndarray) -> Self:
        """Returns the scores of the images selected by a mask, (N,) bool."""
        return type(self)(self.candidate_N[inside_N], self.live_N[inside_N])


def discordant(pair: PairedScores) -> tuple[int, int, int]:
    """Counts the images that only the candidate predicts correctly, those that only the live model does, and all."""
    candidate, live = pair.candidate_N > 0.5, pair.live_N > 0.5
    return int((candidate & ~live).sum()), int((live & ~candidate).sum()), len(candidate)


def tango_z(better: int, worse: int, count: int, at: float) -> float:
    """Returns Tango's score statistic for a paired difference of `at` (Statistics in Medicine 17, 1998).

    At 0 it is McNemar's statistic. It is large if the true difference probably exceeds `at`, and 0 without any
    evidence.
    """
    a = 2 * count
    b = -better - worse + (2 * count - better + worse) * at
    c = -worse * at * (1 - at)
    only_live = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = count * (2 * only_live + at * (1 - at))
    distance = better - worse - count * at
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def tango_bounds(better: int, worse: int, count: int, error: float) -> tuple[float, float]:
    """Returns the lower and upper confidence bounds of the true difference, each with error probability `error`."""
    z = NORMAL.inv_cdf(1 - error)
    return _where_z_is(z, better, worse, count), _where_z_is(-z, better, worse, count)


def _where_z_is(z: float, better: int, worse: int, count: int) -> float:
    """Returns the difference at which the statistic equals `z`, by bisection; it decreases with the difference."""
    low, high = -1.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if tango_z(better, worse, count, middle) > z else (low, middle)
    return (low + high) / 2


def t_statistic(gain_N: np.ndarray, at: float) -> float:
    """Returns the number of standard errors by which the mean of (N,) gains exceeds `at`; 0 for fewer than two."""
    if len(gain_N) < 2:
        return 0.0
    error = max(float(gain_N.std(ddof=1)) / math.sqrt(len(gain_N)), 1e-12)
    return (float(gain_N.mean()) - at) / error


def with_a_loss(gain_N: np.ndarray) -> np.ndarray:
    """Adds an image that loses as much as the largest difference among (N,) gains: returns (N + 1,).

    A few large losses decide over a mean, and the images at hand may hold none of them; without this one, Student's t
    passes too many models that have rare large losses.
    """
    return np.append(gain_N, -np.abs(gain_N).max(initial=0.0))


def mean_bounds(gain_N: np.ndarray, error: float) -> tuple[float, float]:
    """Returns the lower and upper confidence bounds of the mean of (N,) gains, each with error probability `error`.

    The lower bound has one more loss, the upper one more gain, as large as the largest difference.
    """
    return t_bounds(with_a_loss(gain_N), error)[0], t_bounds(-with_a_loss(-gain_N), error)[1]


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Returns the adjusted p-values of several tests (Holm, 1979), smallest first."""
    adjusted, lowest = {}, 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        lowest = max(lowest, min(1.0, p_value * (len(p_values) - rank)))
        adjusted[name] = lowest
    return adjusted
