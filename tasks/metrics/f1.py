"""Macro F1 as a value per image, so that intervals and tests of means apply to it. Shapes: N images, C classes."""

from __future__ import annotations

import numpy as np


def f1_shares(predicted_NC: np.ndarray, true_NC: np.ndarray) -> np.ndarray:
    """Returns values per image, (N,): their mean is macro F1, and their variance N times its variance (delta method).

    Macro F1 is the mean over the classes that occur in the predictions or the truth, (N, C) each, 0 or 1.
    """
    size_C = predicted_NC.sum(0) + true_NC.sum(0)
    inverse_C = np.divide(1.0, size_C, out=np.zeros(len(size_C)), where=size_C > 0)
    hits_NC = predicted_NC * true_NC
    f1_C = 2 * hits_NC.sum(0) * inverse_C
    change_NC = (2 * hits_NC - (predicted_NC + true_NC) * f1_C) * inverse_C  # of F1, per weight of the image
    classes = max(np.count_nonzero(size_C), 1)
    return np.asarray((f1_C.sum() + len(true_NC) * change_NC.sum(1)) / classes)


def rarest(true_NC: np.ndarray) -> np.ndarray:
    """Returns the membership of an image of the rarest class that occurs, (C,): there, an error costs most."""
    count_C = np.where(true_NC.any(0), true_NC.sum(0), np.inf)
    return np.asarray(np.eye(len(count_C))[count_C.argmin()])


def mistaken(right_C: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Returns what a wrong prediction for an image with membership `right_C` predicts, (C,): nothing.

    With `exclusive` classes it is another class, each with equal weight.
    """
    return (1 - right_C) / max(len(right_C) - 1, 1) if exclusive else np.zeros_like(right_C)
