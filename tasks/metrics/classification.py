"""Classification metrics with intervals. Shapes: N images, C classes."""

from __future__ import annotations

import numpy as np

from tasks.core.schema import Metric
from tasks.metrics import intervals
from tasks.metrics.calibration import ece
from tasks.metrics.f1 import memberships


def accuracy(probability_NC: np.ndarray, y_N: np.ndarray) -> float:
    """Returns the fraction of images whose most probable class, from probabilities (N, C), is the label."""
    return float((probability_NC.argmax(1) == y_N).mean())


def confusion(predicted_N: np.ndarray, y_N: np.ndarray, classes: int) -> np.ndarray:
    """Returns the confusion matrix, (C, C): labels in rows, predictions, (N,), in columns."""
    return np.bincount(y_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def per_class(confusion_CC: np.ndarray) -> dict[str, np.ndarray]:
    """Returns precision, recall, F1 and support of each class, (C,) each; 0 where a ratio is undefined."""
    hits, predicted, support = np.diag(confusion_CC), confusion_CC.sum(0), confusion_CC.sum(1)
    return {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(predicted + support, 1),
        "support": support,
    }


def macro_f1(probability_NC: np.ndarray, y_N: np.ndarray) -> float:
    """Returns the mean F1 over the classes that occur in the labels or predictions of (N, C) probabilities."""
    counts = confusion(probability_NC.argmax(1), y_N, probability_NC.shape[1])
    return float(per_class(counts)["f1"][counts.sum(0) + counts.sum(1) > 0].mean())


def nll_per_image(probability_NC: np.ndarray, y_N: np.ndarray) -> np.ndarray:
    """Returns the negative log-likelihood of each label, (N,), under probabilities (N, C), in nats; 27.6 at most."""
    likelihood_N = probability_NC[np.arange(len(y_N)), y_N].astype(np.float64)
    return np.asarray(-np.log(np.maximum(likelihood_N, 1e-12)))


def scores(raw_NC: np.ndarray, scaled_NC: np.ndarray, y_N: np.ndarray, bins: int) -> dict[str, dict[str, float]]:
    """Returns every metric, from (N, C) probabilities before and after temperature scaling, with its 95% interval.

    ECE has none: it is biased upward on few images, so that an interval would lie beside it.
    """
    table = {Metric.ACCURACY.value: hit_score(scaled_NC, y_N), Metric.MACRO_F1.value: f1_score(scaled_NC, y_N)}
    named = ((Metric.NLL, Metric.ECE, scaled_NC), (Metric.NLL_UNCALIBRATED, Metric.ECE_UNCALIBRATED, raw_NC))
    for of_loss, of_calibration, probability_NC in named:
        wrong = int((probability_NC.argmax(1) != y_N).sum())
        loss_N = nll_per_image(probability_NC, y_N)
        table[of_loss] = intervals.score(float(loss_N.mean()), intervals.nll_interval(loss_N, wrong))
        table[of_calibration] = intervals.score(ece(probability_NC, y_N, bins))
    return table


def hit_score(probability_NC: np.ndarray, y_N: np.ndarray) -> dict[str, float]:
    """Returns the fraction of images whose most probable class is `y_N`, (N,), with its interval."""
    rate = accuracy(probability_NC, y_N)
    return intervals.score(rate, intervals.hit_interval(rate, len(y_N)))


def f1_score(probability_NC: np.ndarray, y_N: np.ndarray) -> dict[str, float]:
    """Returns macro F1 of probabilities (N, C) for labels (N,), with its interval."""
    classes = probability_NC.shape[1]
    predicted_NC = memberships(probability_NC.argmax(1), classes)
    bounds = intervals.f1_interval(predicted_NC, memberships(y_N, classes), exclusive=True)
    return intervals.score(macro_f1(probability_NC, y_N), bounds)
