"""A classifier's answers: calibrated on validation, and given only where they are sure enough.

Shapes: V validation images, N test images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasks.metrics.calibration import temperature
from tasks.metrics.selective import coverage_and_risk, threshold_for


@dataclass(frozen=True)
class Answers:
    """A candidate's probabilities on test, before and after temperature scaling; on validation after it; the truth."""

    raw_NC: np.ndarray
    scaled_NC: np.ndarray
    y_N: np.ndarray
    validation_VC: np.ndarray
    y_V: np.ndarray
    temperature: float

    @property
    def sure_N(self) -> np.ndarray:
        """The probability of each answer."""
        return np.asarray(self.scaled_NC.max(1))

    @property
    def hit_N(self) -> np.ndarray:
        """Whether each answer is right."""
        return np.asarray(self.scaled_NC.argmax(1) == self.y_N)


def calibrated(logits_MC: Tensor, y_V: np.ndarray, y_N: np.ndarray) -> Answers:
    """From logits of validation and test together, validation first; the temperature is fitted on validation."""
    validation_VC, test_NC = logits_MC[: len(y_V)], logits_MC[len(y_V) :]
    chosen = temperature(validation_VC, torch.from_numpy(y_V), cautious=True)
    raw_NC, scaled_NC, scaled_VC = (
        logits.softmax(1).numpy() for logits in (test_NC, test_NC / chosen, validation_VC / chosen)
    )
    return Answers(raw_NC, scaled_NC, y_N, scaled_VC, y_V, chosen)


def selective(answers: Answers, risk: float) -> dict[str, float]:
    """The threshold that keeps the risk on validation, and the coverage and risk that it has on test."""
    hit_V = answers.validation_VC.argmax(1) == answers.y_V
    threshold = threshold_for(answers.validation_VC.max(1), hit_V, risk)
    coverage, test_risk = coverage_and_risk(answers.sure_N, answers.hit_N, threshold)
    return {"wanted_risk": risk, "threshold": threshold, "coverage": coverage, "risk": test_risk}
