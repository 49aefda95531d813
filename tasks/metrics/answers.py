"""A classifier's predictions: calibrated on validation, and rejected if their confidence is too low.

Shapes: V validation images, N test images, C classes, B images per block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from tasks.metrics.calibration import temperature
from tasks.metrics.selective import coverage_and_risk, threshold_for

BLOCK = 4096  # images whose probabilities are in memory at a time


@dataclass(frozen=True)
class Predictions:
    """The labels of N images, the predicted classes, their probabilities, and the probabilities of the labels."""

    y_N: np.ndarray
    predicted_N: np.ndarray
    confidence_N: np.ndarray
    likelihood_N: np.ndarray

    @property
    def hit_N(self) -> np.ndarray:
        """Returns whether each prediction is correct, (N,) bool."""
        return np.asarray(self.predicted_N == self.y_N)


@dataclass(frozen=True)
class Answers:
    """A candidate's logits on test, (N, C), its temperature, and its predictions before and after scaling."""

    logits_NC: Tensor
    temperature: float
    raw: Predictions
    scaled: Predictions
    validation: Predictions

    def probabilities(self) -> Iterator[np.ndarray]:
        """Yields the scaled probabilities on test in blocks, (B, C) float32."""
        return probabilities_of(self.logits_NC, self.temperature)


class OperatingPoint(TypedDict):
    """The confidence threshold for an accepted risk, the validation images, and its coverage and risk on test."""

    wanted_risk: float
    threshold: float
    validation_images: int
    coverage: float
    risk: float


def probabilities_of(logits_NC: Tensor, at: float = 1.0) -> Iterator[np.ndarray]:
    """Yields the probabilities of logits (N, C) at a temperature, in blocks, (B, C) float32."""
    return ((logits_BC / at).softmax(1).numpy() for logits_BC in torch.split(logits_NC, BLOCK))


def predictions_of(probabilities: Iterable[np.ndarray], y_N: np.ndarray) -> Predictions:
    """Returns the predictions of N images with labels (N,), from blocks of their probabilities, (B, C)."""
    parts, start = [], 0
    for probability_BC in probabilities:
        y_B = y_N[start : start + len(probability_BC)]
        likelihood_B = probability_BC[np.arange(len(y_B)), y_B]
        parts.append((probability_BC.argmax(1), probability_BC.max(1), likelihood_B))
        start += len(probability_BC)
    return Predictions(y_N, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def calibrate(validation_VC: Tensor, y_V: np.ndarray, test_NC: Tensor, y_N: np.ndarray) -> Answers:
    """Calibrates logits, (V, C) and (N, C), of labels, (V,) and (N,); the temperature is fitted on validation."""
    chosen = temperature(validation_VC, torch.from_numpy(y_V), cautious=True)
    raw = predictions_of(probabilities_of(test_NC), y_N)
    scaled = predictions_of(probabilities_of(test_NC, chosen), y_N)
    return Answers(test_NC, chosen, raw, scaled, predictions_of(probabilities_of(validation_VC, chosen), y_V))


def choose_operating_point(answers: Answers, risk: float) -> OperatingPoint:
    """Chooses the threshold on validation, by `threshold_for`. Returns it with coverage and risk on test."""
    threshold = threshold_for(answers.validation.confidence_N, answers.validation.hit_N, risk)
    coverage, test_risk = coverage_and_risk(answers.scaled.confidence_N, answers.scaled.hit_N, threshold)
    return {
        "wanted_risk": risk,
        "threshold": threshold,
        "validation_images": len(answers.validation.y_N),
        "coverage": coverage,
        "risk": test_risk,
    }
