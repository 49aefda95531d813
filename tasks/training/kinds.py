"""Maps each problem type to its loss and its measure. Shapes: N images, C classes, K targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance
from tasks.core.target import TargetKind, TargetSpec
from tasks.metrics.calibration import temperature
from tasks.training.calibrated_loss import PLAIN, at_best_temperature
from tasks.training.class_balance import equal_class_weights
from tasks.training.interpolation import RowLoss
from tasks.training.losses.binary_cross_entropy import binary_cross_entropy
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.losses.squared_error import squared_error
from tasks.training.measures import measure_balanced, measure_classes, measure_labels, measure_values
from tasks.training.types import Loss, Measure


def loss_for(target: TargetSpec, smoothing: float = 0.0, log_prior_C: Tensor | None = None) -> Loss:
    """Returns the supervised loss; for classes, with label smoothing and logits adjusted by `log_prior_C`, (C,).

    Raises ParamsError if `smoothing` is set for regression.
    """
    return LOSSES[target.kind](target, smoothing, log_prior_C)


def measure_for(target: TargetSpec, balance: Balance = Balance.NONE) -> Measure:
    """Returns the measure of validation loss and score: accuracy, macro F1 (multi-label) or mean R² (regression).

    The classification loss is computed at the best temperature; with a `balance`, all classes have equal weight.
    """
    return MEASURES[target.kind](target, balance)


def row_loss_for(target: TargetSpec, balance: Balance = Balance.NONE) -> RowLoss:
    """Returns the validation loss of each image, (N,), as in `measure_for`."""
    return ROW_LOSSES[target.kind](target, balance)


def check_balance_supported(balance: Balance, target: TargetSpec) -> None:
    """Raises ParamsError if `balance` is set for a problem type other than classification."""
    if balance not in BALANCES[target.kind]:
        raise ParamsError("balance: only single-label classes can be balanced; set it to none", key="balance")


def _class_loss(target: TargetSpec, smoothing: float, log_prior_C: Tensor | None) -> Loss:
    del target
    return cross_entropy(smoothing, log_prior_C)


def _label_loss(target: TargetSpec, smoothing: float, log_prior_C: Tensor | None) -> Loss:
    del target, log_prior_C
    return binary_cross_entropy(smoothing)


def _value_loss(target: TargetSpec, smoothing: float, log_prior_C: Tensor | None) -> Loss:
    del log_prior_C
    if smoothing:
        raise ParamsError(
            "finetune.smoothing: regression has no labels to smooth; set it to 0", key="finetune.smoothing"
        )
    return squared_error(target.std_K)


def _class_measure(target: TargetSpec, balance: Balance) -> Measure:
    del target
    if balance is Balance.NONE:
        return at_best_temperature(measure_classes)
    return at_best_temperature(measure_balanced, equal_class_weights)


def _class_row_loss(target: TargetSpec, balance: Balance) -> RowLoss:
    del target

    def row_loss(logits_NC: Tensor, y_N: Tensor) -> Tensor:
        weight_N = None if balance is Balance.NONE else equal_class_weights(y_N, logits_NC.shape[1])
        scaled_N, plain_N = (
            F.cross_entropy(logits_NC / divisor, y_N, reduction="none")
            for divisor in (temperature(logits_NC, y_N, weight_N), 1.0)
        )
        loss_N = scaled_N + PLAIN * plain_N
        return loss_N if weight_N is None else loss_N * weight_N

    return row_loss


def _label_row_loss(target: TargetSpec, balance: Balance) -> RowLoss:
    del target, balance
    return lambda logits_NC, y_NC: F.binary_cross_entropy_with_logits(
        logits_NC, y_NC.to(logits_NC.dtype), reduction="none"
    ).mean(1)


def _value_row_loss(target: TargetSpec, balance: Balance) -> RowLoss:
    del balance
    return lambda value_NK, y_NK: ((value_NK - y_NK) / value_NK.new_tensor(target.std_K)).square().mean(1)


BALANCES: Mapping[TargetKind, frozenset[Balance]] = {  # class balancing methods that a problem type supports
    TargetKind.CLASSIFICATION: frozenset(Balance),
    TargetKind.MULTILABEL: frozenset({Balance.NONE}),
    TargetKind.REGRESSION: frozenset({Balance.NONE}),
}
LOSSES: Mapping[TargetKind, Callable[[TargetSpec, float, Tensor | None], Loss]] = {
    TargetKind.CLASSIFICATION: _class_loss,
    TargetKind.MULTILABEL: _label_loss,
    TargetKind.REGRESSION: _value_loss,
}
MEASURES: Mapping[TargetKind, Callable[[TargetSpec, Balance], Measure]] = {
    TargetKind.CLASSIFICATION: _class_measure,
    TargetKind.MULTILABEL: lambda _target, _balance: measure_labels,
    TargetKind.REGRESSION: lambda target, _balance: measure_values(target.std_K),
}
TAKES_SMALL_HEAD: Mapping[
    TargetKind, bool
] = {  # whether a small head is worth a try: its loss is that at the best temperature
    TargetKind.CLASSIFICATION: True,
    TargetKind.MULTILABEL: False,
    TargetKind.REGRESSION: False,
}
ROW_LOSSES: Mapping[TargetKind, Callable[[TargetSpec, Balance], RowLoss]] = {
    TargetKind.CLASSIFICATION: _class_row_loss,
    TargetKind.MULTILABEL: _label_row_loss,
    TargetKind.REGRESSION: _value_row_loss,
}
