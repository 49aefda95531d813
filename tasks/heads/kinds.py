"""Fits heads on features for each problem type. Shapes: N rows, D features, C classes, K targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance
from tasks.core.target import TargetKind, TargetSpec
from tasks.heads.linear import CPU, STANDARDIZED_VALUES, Probe, Rows, Train, fit_probes, fit_ridge
from tasks.scorer.heads import Scaled
from tasks.training.kinds import loss_for, measure_for
from tasks.training.losses.squared_error import squared_error
from tasks.training.types import Loss, Measure


@dataclass(frozen=True)
class LinearFit:
    """The settings for fitting a linear head: target, penalties, initial head and balance."""

    target: TargetSpec
    l2_penalties: Sequence[float]
    start: nn.Linear | None = None
    log_prior_C: Tensor | None = None
    balance: Balance = Balance.NONE
    device: torch.device = CPU


def fit_linear(train: Train, validation: Rows, fit: LinearFit) -> list[Probe]:
    """Fits a linear head for each penalty: logistic regressions, or ridge regressions on standardized targets.

    Features are (N, D); targets are classes (N,), labels (N, C) or values (N, K).
    """
    return LINEAR[fit.target.kind](train, validation, fit)


def head_measure(target: TargetSpec, balance: Balance) -> Measure:
    """Returns the measure of a head's outputs; targets are standardized."""
    return HEAD_MEASURES[target.kind](target, balance)


def head_loss(target: TargetSpec, log_prior_C: Tensor | None) -> Loss:
    """Returns the loss for training a head by gradient descent; targets are standardized.

    Logits are adjusted by `log_prior_C`, (C,), if given.
    """
    return HEAD_LOSSES[target.kind](target, log_prior_C)


def standardize(y: Tensor, target: TargetSpec) -> Tensor:
    """Scales values (N, K) to zero mean and unit variance over the training images; classes and labels pass through."""
    return STANDARDIZERS[target.kind](y, target)


def unstandardize_head(head: nn.Module, target: TargetSpec) -> tuple[nn.Module, dict[str, int]]:
    """Returns a head with outputs in the targets' original units, and the settings for rebuilding it."""
    return UNSTANDARDIZED[target.kind](head, target)


def _classes(train: Train, validation: Rows, fit: LinearFit) -> list[Probe]:
    measure = measure_for(fit.target, fit.balance)
    penalties, outputs = fit.l2_penalties, fit.target.num_outputs
    return fit_probes(train, validation, outputs, penalties, fit.start, fit.log_prior_C, measure, fit.device)


def _values(train: Train, validation: Rows, fit: LinearFit) -> list[Probe]:
    if fit.start is not None:
        raise ParamsError(
            "head.start: only a linear head on classes can start from an earlier one; set it to zero", key="head.start"
        )
    return fit_ridge(train, validation, fit.l2_penalties)


def _standardized(y_NK: Tensor, target: TargetSpec) -> Tensor:
    return (y_NK - torch.tensor(target.mean_K)) / torch.tensor(target.std_K)


def _scaled(head: nn.Module, target: TargetSpec) -> tuple[nn.Module, dict[str, int]]:
    scaled = Scaled(head, target.num_outputs)
    scaled.set_scale(target.mean_K, target.std_K)
    return scaled, {"scaled": 1}


LINEAR: Mapping[TargetKind, Callable[[Train, Rows, LinearFit], list[Probe]]] = {
    TargetKind.CLASSIFICATION: _classes,
    TargetKind.MULTILABEL: _classes,
    TargetKind.REGRESSION: _values,
}
HEAD_MEASURES: Mapping[TargetKind, Callable[[TargetSpec, Balance], Measure]] = {
    TargetKind.CLASSIFICATION: measure_for,
    TargetKind.MULTILABEL: measure_for,
    TargetKind.REGRESSION: lambda _target, _balance: STANDARDIZED_VALUES,
}
HEAD_LOSSES: Mapping[TargetKind, Callable[[TargetSpec, Tensor | None], Loss]] = {
    TargetKind.CLASSIFICATION: lambda target, prior_C: loss_for(target, log_prior_C=prior_C),
    TargetKind.MULTILABEL: lambda target, _prior_C: loss_for(target),
    TargetKind.REGRESSION: lambda _target, _prior_C: squared_error((1.0,)),
}
STANDARDIZERS: Mapping[TargetKind, Callable[[Tensor, TargetSpec], Tensor]] = {
    TargetKind.CLASSIFICATION: lambda y_N, _target: y_N,
    TargetKind.MULTILABEL: lambda y_NC, _target: y_NC,
    TargetKind.REGRESSION: _standardized,
}
UNSTANDARDIZED: Mapping[TargetKind, Callable[[nn.Module, TargetSpec], tuple[nn.Module, dict[str, int]]]] = {
    TargetKind.CLASSIFICATION: lambda head, _target: (head, {}),
    TargetKind.MULTILABEL: lambda head, _target: (head, {}),
    TargetKind.REGRESSION: _scaled,
}
SUPPORTED_HEADS: Mapping[TargetKind, frozenset[str]] = {
    TargetKind.CLASSIFICATION: frozenset({"linear", "dense", "prototype", "knn"}),
    TargetKind.MULTILABEL: frozenset({"linear", "dense"}),
    TargetKind.REGRESSION: frozenset({"linear", "dense"}),
}
CAN_START_FROM_EARLIER: Mapping[TargetKind, bool] = {
    TargetKind.CLASSIFICATION: True,
    TargetKind.MULTILABEL: True,
    TargetKind.REGRESSION: False,
}
