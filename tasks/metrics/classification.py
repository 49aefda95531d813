"""Scores of predictions, with intervals. Shapes: N images, C classes, B bootstrap resamples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import exp, log, sqrt
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from tasks.core.schema import HIGH, LOW, VALUE, Metric

Score = Callable[[np.ndarray, np.ndarray], float]


def accuracy(probability_NC: np.ndarray, y_N: np.ndarray) -> float:
    """The fraction of images whose most probable class is the true one."""
    return float((probability_NC.argmax(1) == y_N).mean())


def confusion(predicted_N: np.ndarray, y_N: np.ndarray, classes: int) -> np.ndarray:
    """Counts, (C, C): true classes down, predicted ones across."""
    return np.bincount(y_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def per_class(confusion_CC: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, F1 and support of each class, (C,) each; 0 where there is nothing to divide by."""
    hits, predicted, support = np.diag(confusion_CC), confusion_CC.sum(0), confusion_CC.sum(1)
    return {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(predicted + support, 1),
        "support": support,
    }


def macro_f1(probability_NC: np.ndarray, y_N: np.ndarray) -> float:
    """The mean of the F1 of the classes that occur in `y_N` or were predicted."""
    counts = confusion(probability_NC.argmax(1), y_N, probability_NC.shape[1])
    return float(per_class(counts)["f1"][counts.sum(0) + counts.sum(1) > 0].mean())


def label_macro_f1(given_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The mean F1 of the labels that some image has or was given, where an image may have several; 1 without any."""
    true_NC = y_NC > 0.5
    hits_C, all_C = (given_NC & true_NC).sum(0), given_NC.sum(0) + true_NC.sum(0)
    return float((2 * hits_C[all_C > 0] / all_C[all_C > 0]).mean()) if all_C.any() else 1.0


def nll(probability_NC: np.ndarray, y_N: np.ndarray) -> float:
    """The mean negative log-likelihood of the true class, in nats."""
    likely = probability_NC[np.arange(len(y_N)), y_N].astype(np.float64)
    return float(-np.log(np.maximum(likely, 1e-12)).mean())


def ece(probability_NC: np.ndarray, y_N: np.ndarray, bins: int) -> float:
    """Expected calibration error in equal bins of confidence (Guo et al., "On Calibration of ...", 2017)."""
    confidence, right, share = reliability_bins(probability_NC, y_N, bins)
    return float((np.abs(right - confidence) * share).sum())


def reliability_bins(
    probability_NC: np.ndarray, y_N: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, fraction right and share of images of each bin of confidence that is not empty."""
    confidence_N, hit_N = probability_NC.max(1), probability_NC.argmax(1) == y_N
    place_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    count = np.bincount(place_N, minlength=bins)
    filled = count > 0
    means = [np.bincount(place_N, weights=of, minlength=bins)[filled] / count[filled] for of in (confidence_N, hit_N)]
    return means[0], means[1], count[filled] / len(y_N)


def temperature(logits_NC: Tensor, y_N: Tensor, weight_N: Tensor | None = None, *, cautious: bool = False) -> float:
    """The temperature that minimises the loss of softmax(logits / T), between 1/20 and 20 (Guo et al., 2017).

    By bisection, as the loss is convex in 1/T: it needs no gradient, and ends where all answers are right too. There
    the loss has no minimum; `cautious` has one, as it takes a truth for uniform with a chance of half an image among
    them (after Krichevsky and Trofimov, 1981): N right answers do not make a model sure of everything.
    """
    if logits_NC.is_mps:  # it has no float64
        logits_NC, y_N = logits_NC.cpu(), y_N.cpu()
    logits_NC = logits_NC.double()
    weight_N = torch.ones_like(logits_NC[:, 0]) if weight_N is None else weight_N.to(logits_NC)
    true_N = logits_NC.gather(1, y_N[:, None])[:, 0]
    if cautious:
        true_N = true_N.lerp(logits_NC.mean(1), 0.5 / (len(y_N) + 1))
    low, high = -log(20), log(20)
    while high - low > 1e-4:
        middle = (low + high) / 2
        expected_N = ((logits_NC / exp(middle)).softmax(1) * logits_NC).sum(1)
        unsure = weight_N @ (true_N - expected_N) > 0
        low, high = (low, middle) if unsure else (middle, high)
    return exp((low + high) / 2)


def interval(
    score: Score, probability_NC: np.ndarray, y_N: np.ndarray, resamples: int, seed: int
) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of a score over images (Efron and Tibshirani, 1993)."""
    random = np.random.default_rng(seed)
    draws = (random.integers(0, len(y_N), len(y_N)) for _ in range(resamples))
    scores = [score(probability_NC[draw], y_N[draw]) for draw in draws]
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)


def hit_interval(rate: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share of right answers (Wilson, 1927): no point where all are right, as a resample's is."""
    z = NormalDist().inv_cdf(0.975)
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def with_intervals(
    measures: Mapping[Metric, Score], predicted: np.ndarray, y: np.ndarray, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Each metric of the same predictions, with its 95% interval: Wilson's of accuracy, a bootstrap of the others."""
    found = {}
    for metric, measure in measures.items():
        value = measure(predicted, y)
        hits = metric is Metric.ACCURACY
        low, high = hit_interval(value, len(y)) if hits else interval(measure, predicted, y, resamples, seed)
        found[metric.value] = {VALUE: value, LOW: low, HIGH: high}
    return found


def scores(
    raw_NC: np.ndarray, scaled_NC: np.ndarray, y_N: np.ndarray, bins: int, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Every metric with its 95% interval; `raw` probabilities are those before temperature scaling."""
    how = (y_N, resamples, seed)
    scaled: dict[Metric, Score] = {
        Metric.ACCURACY: accuracy,
        Metric.MACRO_F1: macro_f1,
        Metric.NLL: nll,
        Metric.ECE: partial(ece, bins=bins),
    }
    raw: dict[Metric, Score] = {Metric.NLL_UNCALIBRATED: nll, Metric.ECE_UNCALIBRATED: partial(ece, bins=bins)}
    return with_intervals(scaled, scaled_NC, *how) | with_intervals(raw, raw_NC, *how)
