"""Linearizes the difference of two models' macro F1 into a gain per image, so that a test of means applies to it.

Shapes: N images, C classes or labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.gate.paired_tests import t_lower_bound


@dataclass(frozen=True)
class PairedPredictions:
    """The memberships that the candidate and the live model predict, and the true ones: (N, C) each, 0 or 1."""

    candidate_NC: np.ndarray
    live_NC: np.ndarray
    true_NC: np.ndarray

    def gains(self) -> np.ndarray:
        """Returns the gain of each image, (N,): their mean is the difference of macro F1, candidate minus live."""
        return f1_shares(self.candidate_NC, self.true_NC) - f1_shares(self.live_NC, self.true_NC)

    def swapped(self) -> PairedPredictions:
        """Returns the comparison with the models in each other's place."""
        return PairedPredictions(self.live_NC, self.candidate_NC, self.true_NC)

    def with_a_loss(self, *, exclusive: bool) -> PairedPredictions:
        """Adds an image of the rarest class, where an error costs most, that only the live model recognizes.

        With `exclusive` classes the candidate predicts another one instead, each with equal weight.
        """
        count_C = np.where(self.true_NC.any(0), self.true_NC.sum(0), np.inf)
        right_C = np.eye(len(count_C))[count_C.argmin()]
        wrong_C = (1 - right_C) / max(len(count_C) - 1, 1) if exclusive else 0 * right_C
        rows = (wrong_C, right_C, right_C)
        tables = (self.candidate_NC, self.live_NC, self.true_NC)
        return PairedPredictions(*(np.vstack([table, row]) for table, row in zip(tables, rows, strict=True)))


def f1_bounds(pair: PairedPredictions, error: float, *, exclusive: bool) -> tuple[float, float]:
    """Returns the lower and upper confidence bounds of the difference of macro F1, each with error probability `error`.

    The lower bound has one more image of the rarest class that is lost, the upper one that is gained.
    """
    low, minus_high = (
        t_lower_bound(each.with_a_loss(exclusive=exclusive).gains(), error) for each in (pair, pair.swapped())
    )
    return low, -minus_high


def f1_shares(predicted_NC: np.ndarray, true_NC: np.ndarray) -> np.ndarray:
    """Returns macro F1 as a value per image, (N,), by the delta method: the mean is macro F1, the variance its N-fold.

    The mean over classes is over those that occur in either table, (N, C) each.
    """
    size_C = predicted_NC.sum(0) + true_NC.sum(0)
    inverse_C = np.divide(1.0, size_C, out=np.zeros(len(size_C)), where=size_C > 0)
    hits_NC = predicted_NC * true_NC
    f1_C = 2 * hits_NC.sum(0) * inverse_C
    change_NC = (2 * hits_NC - (predicted_NC + true_NC) * f1_C) * inverse_C  # of F1, per weight of the image
    classes = max(np.count_nonzero(size_C), 1)
    return np.asarray((f1_C.sum() + len(true_NC) * change_NC.sum(1)) / classes)
