"""Scores features by a cross-validated linear probe, in parts that can be compared pairwise between features.

Shapes: N images, D features, U parts of a score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tasks.core.schema import Column
from tasks.core.target import TargetKind, TargetSpec
from tasks.data.folds import folds_by_group
from tasks.heads.kinds import LinearFit, fit_linear, standardize
from tasks.heads.linear import Probe
from tasks.metrics.average_precision import mean_average_precision

FOLDS = 5
L2_PENALTIES = (0.01, 0.1, 1.0, 10.0)


@dataclass(frozen=True)
class ProbeProblem:
    """Labeled images with their encoded targets, (N,) or (N, C), and the folds of their groups, (N,)."""

    target: TargetSpec
    y: Tensor
    fold_N: np.ndarray


def problem_of(rows: pd.DataFrame, target: TargetSpec) -> ProbeProblem:
    """Builds the problem for the labeled images in `rows`; of the classes, only those of the images count."""
    target = PRESENT[target.kind](rows, target)
    y = standardize(torch.from_numpy(target.encode(rows)), target)
    return ProbeProblem(target, y, folds_by_group(rows, min(FOLDS, rows[Column.GROUP].nunique())))


def score_parts(x_ND: Tensor, problem: ProbeProblem) -> np.ndarray:
    """Returns the parts of the cross-validated score of features (N, D), (U,) float; their mean is the score.

    Parts: hits of images for classes; average precision of folds for several labels; 1 - squared error of images, in
    units of the variance, for regression. The penalty is the one with the lowest cross-validated loss.
    """
    fitted = _fitted(x_ND, problem)
    parts = PARTS[problem.target.kind]
    with torch.inference_mode():
        return np.concatenate([parts(probe.head(x_ND[held_N].float()), problem.y[held_N]) for probe, held_N in fitted])


def best_penalty(x_ND: Tensor, problem: ProbeProblem) -> float:
    """Returns the penalty with the lowest cross-validated loss on features (N, D)."""
    return _fitted(x_ND, problem)[0][0].setting


def _fitted(x_ND: Tensor, problem: ProbeProblem) -> list[tuple[Probe, Tensor]]:
    """Returns the probe of each fold with the penalty that is best over all, and which rows it was not fitted on."""
    splits = [torch.from_numpy(problem.fold_N == fold) for fold in range(problem.fold_N.max() + 1)]
    probe_FP = [_fitted_without(x_ND, problem, held_out_N) for held_out_N in splits]
    size_F = np.array([int(held_out_N.sum()) for held_out_N in splits])
    loss_FP = np.array([[probe.loss for probe in probes] for probes in probe_FP])
    best = int((loss_FP * size_F[:, None]).sum(0).argmin())
    return [(probes[best], held_out_N) for probes, held_out_N in zip(probe_FP, splits, strict=True)]


def _fitted_without(x_ND: Tensor, problem: ProbeProblem, held_out_N: Tensor) -> list[Probe]:
    """Returns a probe for each penalty, fitted on the images that are not held out."""
    train = (x_ND[~held_out_N], problem.y[~held_out_N], torch.ones(int((~held_out_N).sum())))
    return fit_linear(train, (x_ND[held_out_N], problem.y[held_out_N]), LinearFit(problem.target, L2_PENALTIES))


def _hits(logits_NC: Tensor, y_N: Tensor) -> np.ndarray:
    return (logits_NC.argmax(1) == y_N).double().numpy()


def _average_precision(logits_NC: Tensor, y_NC: Tensor) -> np.ndarray:
    return np.array([mean_average_precision(logits_NC.numpy(), y_NC.numpy())])


def _explained(output_NK: Tensor, y_NK: Tensor) -> np.ndarray:
    return (1 - (output_NK - y_NK).square().mean(1)).double().numpy()


def _only_present(rows: pd.DataFrame, target: TargetSpec) -> TargetSpec:
    return replace(target, classes=tuple(sorted(rows[Column.LABEL].unique())))


PRESENT: Mapping[TargetKind, Callable[[pd.DataFrame, TargetSpec], TargetSpec]] = {
    TargetKind.CLASSIFICATION: _only_present,
    TargetKind.MULTILABEL: lambda _rows, target: target,
    TargetKind.REGRESSION: lambda _rows, target: target,
}
PARTS: Mapping[TargetKind, Callable[[Tensor, Tensor], np.ndarray]] = {
    TargetKind.CLASSIFICATION: _hits,
    TargetKind.MULTILABEL: _average_precision,
    TargetKind.REGRESSION: _explained,
}
