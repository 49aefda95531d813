"""The validation loss at the best temperature: candidates are compared by it, since the winner is calibrated anyway."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tasks.metrics.calibration import temperature
from tasks.training.types import Measure

PLAIN = 1e-4  # share of the loss as it is: it decides where all answers are right, which is zero at a low temperature


def at_best_temperature(measure: Measure, weigh: Callable[[Tensor, int], Tensor] | None = None) -> Measure:
    """Wraps a measure of logits (N, C) so that it is taken at the temperature that minimizes the loss.

    An over- or underconfident epoch is then not at a disadvantage (Berta et al., "Rethinking Early Stopping: Refine,
    Then Calibrate", 2025). `weigh` gives the rows' weights, (N,), from targets (N,) and the number of classes.
    """

    def measured(logits_NC: Tensor, y_N: Tensor) -> tuple[float, float]:
        weight_N = weigh(y_N, logits_NC.shape[1]) if weigh else None
        loss, score = measure(logits_NC / temperature(logits_NC, y_N, weight_N), y_N)
        return loss + PLAIN * measure(logits_NC, y_N)[0], score

    return measured
