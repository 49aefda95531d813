"""Outputs for calibration where the same validation images choose the model: each by a model chosen without it.

Otherwise, the model that fits these images best by chance would also look well calibrated on them. Shapes: V validation
images, C classes or labels, K targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tasks.core.target import TargetKind
from tasks.metrics.calibration import temperature
from tasks.training.interpolation import RowLoss, worth

Point = tuple[int, float]  # a fit, and how far from the probe to its end
PROBE: Point = (-1, 0.0)

TEMPERATURES: Mapping[TargetKind, Callable[[Tensor, Tensor], float]] = {  # by which a model's outputs are divided
    TargetKind.CLASSIFICATION: partial(temperature, cautious=True),
    TargetKind.MULTILABEL: lambda _logits, _y: 1.0,
    TargetKind.REGRESSION: lambda _values, _y: 1.0,
}


def best_point(outputs: Mapping[Point, Tensor], y: Tensor, row_loss: RowLoss) -> Point:
    """Returns the point that is worth most, from the outputs (V, C) at each, including the probe's; ties: the first."""
    loss_by_point = {point: row_loss(output, y) for point, output in outputs.items()}
    return max(outputs, key=lambda point: worth(loss_by_point[PROBE], loss_by_point[point], point[1]))


def out_of_fold(
    outputs: Mapping[Point, Tensor], y: Tensor, fold_V: np.ndarray, row_loss: RowLoss, kind: TargetKind
) -> Tensor:
    """Returns outputs, (V, C), each at the point that is best on the other folds; of a single fold, at the best one.

    Logits are brought to the scale of the model that is best on all images, by temperatures that fit all images: those
    that fit the other folds are noisier than the choice is optimistic.
    """
    temperature_of, final = TEMPERATURES[kind], best_point(outputs, y, row_loss)
    result, scale = outputs[final].clone(), temperature_of(outputs[final], y)
    for fold in np.unique(fold_V) if len(np.unique(fold_V)) > 1 else ():
        held_V = torch.from_numpy(fold_V == fold)
        others = {point: output[~held_V] for point, output in outputs.items()}
        point = best_point(others, y[~held_V], row_loss)
        result[held_V] = outputs[point][held_V] * scale / temperature_of(outputs[point], y)
    return result
