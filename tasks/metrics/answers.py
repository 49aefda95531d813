"""A classifier's predictions: calibrated on validation, and rejected if their confidence is too low.

Shapes: V validation images, N test images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from tasks.metrics.calibration import temperature
from tasks.metrics.selective import coverage_and_risk, threshold_for


@dataclass(frozen=True)
class Answers:
    """A candidate's probabilities: raw and scaled on test, (N, C), scaled on validation, (V, C); and all labels."""

    raw_NC: np.ndarray
    scaled_NC: np.ndarray
    y_N: np.ndarray
    validation_VC: np.ndarray
    y_V: np.ndarray
    temperature: float

    @property
    def confidence_N(self) -> np.ndarray:
        """Returns the probability of each predicted class, (N,)."""
        return np.asarray(self.scaled_NC.max(1))

    @property
    def hit_N(self) -> np.ndarray:
        """Returns whether each prediction is correct, (N,) bool."""
        return np.asarray(self.scaled_NC.argmax(1) == self.y_N)


class OperatingPoint(TypedDict):
    """The confidence threshold for an accepted risk, the validation images, and its coverage and risk on test."""

    wanted_risk: float
    threshold: float
    validation_images: int
    coverage: float
    risk: float


def calibrate(validation_VC: Tensor, y_V: np.ndarray, test_NC: Tensor, y_N: np.ndarray) -> Answers:
    """Calibrates logits, (V, C) and (N, C), of labels, (V,) and (N,); the temperature is fitted on validation."""
    chosen = temperature(validation_VC, torch.from_numpy(y_V), cautious=True)
    raw_NC, scaled_NC, scaled_VC = (
        logits.softmax(1).numpy() for logits in (test_NC, test_NC / chosen, validation_VC / chosen)
    )
    return Answers(raw_NC, scaled_NC, y_N, scaled_VC, y_V, chosen)


def choose_operating_point(answers: Answers, risk: float) -> OperatingPoint:
    """Chooses the threshold on validation, by `threshold_for`. Returns it with coverage and risk on test."""
    hit_V = answers.validation_VC.argmax(1) == answers.y_V
    threshold = threshold_for(answers.validation_VC.max(1), hit_V, risk)
    coverage, test_risk = coverage_and_risk(answers.confidence_N, answers.hit_N, threshold)
    return {
        "wanted_risk": risk,
        "threshold": threshold,
        "validation_images": len(hit_V),
        "coverage": coverage,
        "risk": test_risk,
    }
