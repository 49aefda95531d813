"""Average precision of multi-label models. Shapes: N images, C labels."""

from __future__ import annotations

import numpy as np


def mean_average_precision(probability_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """Returns the mean average precision of probabilities (N, C) over the labels that occur in `y_NC`."""
    from sklearn.metrics import average_precision_score

    present_C = (y_NC > 0.5).any(0)
    if not present_C.any():
        return 0.0
    return float(average_precision_score(y_NC[:, present_C] > 0.5, probability_NC[:, present_C], average="macro"))
