"""Audit of confident predictions on validation images: half calibrate, the other half are held out to audit.

Shapes: V validation rows, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column, Split
from tasks.data.splits import unit_hash
from tasks.metrics.calibration import temperature
from tasks.objectives.context import TrainingData
from tasks.objectives.losses.pseudo_labels import Audit, audit


def held_out(data: TrainingData) -> Tensor:
    """Returns which validation images predictions are audited on, (V,) bool; on the others they are calibrated."""
    pixels_V = data.rows(Split.VALIDATION)[Column.PIXEL_HASH]
    return torch.tensor([unit_hash(f"audit:{pixels}") < 0.5 for pixels in pixels_V])


def _targets(data: TrainingData) -> Tensor:
    return torch.from_numpy(data.target.encode(data.rows(Split.VALIDATION)))


def fit_temperature(data: TrainingData, logits_VC: Tensor) -> float:
    """Fits a temperature on validation images that no prediction is audited on; 1 where there are none."""
    calibrating_V = ~held_out(data)
    if not bool(calibrating_V.any()):
        return 1.0
    return temperature(logits_VC[calibrating_V].cpu().float(), _targets(data)[calibrating_V], cautious=True)


def audit_held_out(data: TrainingData, p_VC: Tensor, threshold: float | Sequence[float]) -> Audit:
    """Measures how often accepted predictions are right on held-out validation images."""
    held_V = held_out(data)
    return audit(p_VC.cpu()[held_V].numpy(), _targets(data)[held_V].numpy(), threshold)


def refuse_unaudited(audited: Audit, precision: float) -> None:
    """Raises DataRefusedError if accepted predictions are wrong too often, or none could be checked."""
    if not audited.accepted:
        raise DataRefusedError(
            "objective: no answer on held-out labelled images is trusted, so none can be audited; lower "
            "unlabelled.threshold, or label more images for validation"
        )
    if audited.precision < precision:
        raise DataRefusedError(
            f"objective: trusted answers are right for too few held-out labelled images: {audited.precision:.1%} of "
            f"{audited.accepted}, wanted {precision:.0%} (unlabelled.precision); raise unlabelled.threshold, or label "
            "more images"
        )
