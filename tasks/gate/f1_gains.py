"""The difference of two models' macro F1 as a gain per image. Shapes: N images, C classes or labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.metrics.f1 import f1_shares, rarest_and_mistaken, with_row
from tasks.metrics.intervals import t_bounds

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class PairedPredictions:
    """The memberships that the candidate and the live model predict, and the true ones: (N, C) each."""

    candidate_NC: csr_array
    live_NC: csr_array
    true_NC: csr_array

    def gains(self) -> np.ndarray:
        """Returns the gain of each image, (N,): their mean is the difference of macro F1, candidate minus live."""
        return np.asarray(f1_shares(self.candidate_NC, self.true_NC) - f1_shares(self.live_NC, self.true_NC))

    def swapped(self) -> PairedPredictions:
        """Returns the comparison with the models in each other's place."""
        return PairedPredictions(self.live_NC, self.candidate_NC, self.true_NC)

    def with_a_loss(self, *, exclusive: bool) -> PairedPredictions:
        """Adds an image of the rarest class that only the live model recognizes; `exclusive`: one class an image."""
        right_C, wrong_C = rarest_and_mistaken(self.true_NC, exclusive=exclusive)
        rows = ((self.candidate_NC, wrong_C), (self.live_NC, right_C), (self.true_NC, right_C))
        return PairedPredictions(*(with_row(table, row_C) for table, row_C in rows))


def f1_bounds(pair: PairedPredictions, error: float, *, exclusive: bool) -> tuple[float, float]:
    """Returns the lower and upper confidence bounds of the difference of macro F1, each with error probability `error`.

    The lower bound has one more image of the rarest class that is lost, the upper one that is gained.
    """
    low, minus_high = (
        t_bounds(each.with_a_loss(exclusive=exclusive).gains(), error)[0] for each in (pair, pair.swapped())
    )
    return low, -minus_high
