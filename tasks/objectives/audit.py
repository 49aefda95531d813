"""Audits confident predictions on validation images: one half is for calibration, the other held out for the audit.

Shapes: V validation rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column, Split
from tasks.data.units import unit_hash
from tasks.metrics.calibration import temperature
from tasks.objectives.data import TrainingData
from tasks.objectives.losses.pseudo_labels import Audit, audit


def held_out(data: TrainingData) -> Tensor:
    """Returns a mask of the validation images held out for the audit, (V,) bool; the others are for calibration."""
    pixels_V = data.rows(Split.VALIDATION)[Column.PIXEL_HASH]
    return torch.tensor([unit_hash(f"audit:{pixels}") < 0.5 for pixels in pixels_V])


def _targets(data: TrainingData) -> Tensor:
    return torch.from_numpy(data.target.encode(data.rows(Split.VALIDATION)))


def fit_temperature(data: TrainingData, logits_VC: Tensor) -> float:
    """Fits a temperature to logits (V, C) on the validation images for calibration; 1 if there are none."""
    calibrating_V = ~held_out(data)
    if not bool(calibrating_V.any()):
        return 1.0
    return temperature(logits_VC[calibrating_V].cpu().float(), _targets(data)[calibrating_V], cautious=True)


def audit_held_out(data: TrainingData, p_VC: Tensor, threshold: float | Sequence[float]) -> Audit:
    """Measures the precision of accepted predictions, (V, C), on held-out validation images."""
    held_V = held_out(data)
    return audit(p_VC.cpu()[held_V].numpy(), _targets(data)[held_V].numpy(), threshold)


def check_audit(audited: Audit, precision: float) -> None:
    """Raises DataRefusedError if accepted predictions are wrong too often, or if none has been accepted."""
    if not audited.accepted:
        raise DataRefusedError(
            "unlabelled.threshold: no prediction on held-out labeled images is confident enough, so none can be "
            "audited; lower unlabelled.threshold, or label more images for validation",
            key="unlabelled.threshold",
        )
    if audited.precision < precision:
        raise DataRefusedError(
            f"unlabelled.precision: only {audited.precision:.1%} of {audited.accepted} accepted predictions on "
            f"held-out labeled images are right, {precision:.0%} are required; raise unlabelled.threshold, or label "
            "more images",
            key="unlabelled.precision",
        )
