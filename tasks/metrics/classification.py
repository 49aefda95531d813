"""Classification metrics with intervals. Shapes: N images, C classes."""

from __future__ import annotations

import numpy as np

from tasks.core.schema import Metric
from tasks.metrics import intervals
from tasks.metrics.answers import Predictions
from tasks.metrics.calibration import ece
from tasks.metrics.f1 import memberships


def confusion(predicted_N: np.ndarray, y_N: np.ndarray, classes: int) -> np.ndarray:
    """Returns the confusion matrix, (C, C): labels in rows, predictions, (N,), in columns."""
    return np.bincount(y_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def most_confused(predicted_N: np.ndarray, y_N: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """Returns at most `count` pairs of a class and another predicted for it, (N,) each, with their numbers of images.

    The most frequent come first. Memory grows with the number of pairs that occur, not with the square of C.
    """
    wrong_N = predicted_N != y_N
    pair_P2, images_P = np.unique(np.stack([y_N, predicted_N], 1)[wrong_N], axis=0, return_counts=True)
    order = np.argsort(-images_P, kind="stable")[:count]
    return [
        (int(true), int(predicted), int(images_P[place]))
        for place, (true, predicted) in zip(order, pair_P2[order], strict=True)
    ]


def per_class(predicted_N: np.ndarray, y_N: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Returns precision, recall, F1 and support of each class, (C,) each; 0 where a ratio is undefined."""
    hits, predicted, support = (
        np.bincount(class_M, minlength=classes) for class_M in (y_N[predicted_N == y_N], predicted_N, y_N)
    )
    return {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(predicted + support, 1),
        "support": support,
    }


def macro_f1(predicted_N: np.ndarray, y_N: np.ndarray, classes: int) -> float:
    """Returns the mean F1 over the classes that occur in the labels or predictions, (N,) each."""
    occurs_C = np.bincount(predicted_N, minlength=classes) + np.bincount(y_N, minlength=classes) > 0
    return float(per_class(predicted_N, y_N, classes)["f1"][occurs_C].mean())


def nll_per_image(likelihood_N: np.ndarray) -> np.ndarray:
    """Returns the negative log-likelihood of each label, (N,), from their probabilities, in nats; 27.6 at most."""
    return np.asarray(-np.log(np.maximum(likelihood_N.astype(np.float64), 1e-12)))


def scores(raw: Predictions, scaled: Predictions, classes: int, bins: int) -> dict[str, dict[str, float]]:
    """Returns every metric of predictions before and after temperature scaling, with its 95% interval.

    ECE has none: it is biased upward on few images, so that an interval would lie beside it.
    """
    table = {
        Metric.ACCURACY.value: hit_score(scaled.hit_N),
        Metric.MACRO_F1.value: f1_score(scaled.predicted_N, scaled.y_N, classes),
    }
    named = ((Metric.NLL, Metric.ECE, scaled), (Metric.NLL_UNCALIBRATED, Metric.ECE_UNCALIBRATED, raw))
    for of_loss, of_calibration, predictions in named:
        loss_N, wrong = nll_per_image(predictions.likelihood_N), int((~predictions.hit_N).sum())
        table[of_loss] = intervals.score(float(loss_N.mean()), intervals.nll_interval(loss_N, wrong))
        table[of_calibration] = intervals.score(ece(predictions.confidence_N, predictions.hit_N, bins))
    return table


def hit_score(hit_N: np.ndarray) -> dict[str, float]:
    """Returns the fraction of hits, (N,) bool, with its interval."""
    rate = float(hit_N.mean())
    return intervals.score(rate, intervals.hit_interval(rate, len(hit_N)))


def f1_score(predicted_N: np.ndarray, y_N: np.ndarray, classes: int) -> dict[str, float]:
    """Returns macro F1 of predictions and labels, (N,) each, with its interval."""
    predicted_NC, true_NC = memberships(predicted_N, classes), memberships(y_N, classes)
    bounds = intervals.f1_interval(predicted_NC, true_NC, exclusive=True)
    return intervals.score(macro_f1(predicted_N, y_N, classes), bounds)
