"""Measures the validation loss at the best temperature, since the chosen model is calibrated anyway.

Shapes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tasks.metrics.calibration import temperature
from tasks.training.types import Measure

PLAIN = 1e-4  # weight of the uncalibrated loss: it decides if all predictions are correct and the other loss is 0


def at_best_temperature(measure: Measure, weigh: Callable[[Tensor, int], Tensor] | None = None) -> Measure:
    """Wraps a measure of logits (N, C) to evaluate it at the temperature that minimizes the loss.

    Over- or underconfident epochs are then not at a disadvantage (Berta et al., "Rethinking Early Stopping: Refine,
    Then Calibrate", 2025). `weigh` returns row weights, (N,), for targets (N,) and the number of classes.
    """

    def measured(logits_NC: Tensor, y_N: Tensor) -> tuple[float, float]:
        weight_N = weigh(y_N, logits_NC.shape[1]) if weigh else None
        loss, score = measure(logits_NC / temperature(logits_NC, y_N, weight_N), y_N)
        return loss + PLAIN * measure(logits_NC, y_N)[0], score

    return measured
