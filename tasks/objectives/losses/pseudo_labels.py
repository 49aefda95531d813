"""Pseudo-labels (Lee, 2013; article, 4.1): chooses the predictions for unlabeled images that are accepted as labels.

Shapes: U unlabeled rows, V held-out labeled rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Audit:
    """The number of accepted predictions on held-out labeled images, and the fraction of them that is correct."""

    accepted: int
    precision: float


def accept(p_UC: np.ndarray, threshold: float, quota: int = 0) -> np.ndarray:
    """Returns a mask of the accepted predictions, (U,) bool, from probabilities (U, C).

    Predictions that reach `threshold` are accepted, at most the `quota` most confident of each class (0: all).
    """
    confidence_U, label_U = p_UC.max(1), p_UC.argmax(1)
    accepted_U = confidence_U >= threshold
    if quota:
        for label in np.unique(label_U[accepted_U]):
            rows = np.flatnonzero(accepted_U & (label_U == label))
            accepted_U[rows[np.argsort(-confidence_U[rows], kind="stable")[quota:]]] = False
    return np.asarray(accepted_U)


def audit(p_VC: np.ndarray, y_V: np.ndarray, threshold: float | Sequence[float]) -> Audit:
    """Applies the rule to held-out labeled rows, with probabilities (V, C) and classes (V,).

    `threshold` is one number, or one per class.
    """
    label_V = p_VC.argmax(1)
    accepted_V = p_VC.max(1) >= np.broadcast_to(np.asarray(threshold, float), p_VC.shape[1:])[label_V]
    hits = label_V[accepted_V] == y_V[accepted_V]
    return Audit(int(accepted_V.sum()), float(hits.mean()) if len(hits) else 0.0)
