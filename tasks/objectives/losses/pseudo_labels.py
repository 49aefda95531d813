"""Pseudo-labels (Lee, 2013; article, 4.1): which of a model's answers on unlabelled images are trusted as labels.

Shapes: U unlabelled rows, V labelled ones that are held out, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Audit:
    """How right the accepted answers are on labelled images that were held out."""

    accepted: int
    precision: float


def accept(p_UC: np.ndarray, threshold: float, quota: int = 0) -> np.ndarray:
    """Which answers are trusted, (U,) bool: the confident ones; of each class the `quota` surest, 0 for all."""
    sure_U, label_U = p_UC.max(1), p_UC.argmax(1)
    taken_U = sure_U >= threshold
    if quota:
        for label in np.unique(label_U[taken_U]):
            own = np.flatnonzero(taken_U & (label_U == label))
            taken_U[own[np.argsort(-sure_U[own], kind="stable")[quota:]]] = False
    return np.asarray(taken_U)


def audit(p_VC: np.ndarray, y_V: np.ndarray, threshold: float | Sequence[float]) -> Audit:
    """The same rule on held-out labelled rows; one threshold, or one a class."""
    label_V = p_VC.argmax(1)
    taken_V = p_VC.max(1) >= np.broadcast_to(np.asarray(threshold, float), p_VC.shape[1:])[label_V]
    hits = label_V[taken_V] == y_V[taken_V]
    return Audit(int(taken_V.sum()), float(hits.mean()) if len(hits) else 0.0)
