"""The training options that each problem type supports."""

from __future__ import annotations

import pytest

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance
from tasks.core.target import TargetKind, TargetSpec
from tasks.training.kinds import check_balance_supported, loss_for
from tests.errors import raises

REGRESSION = TargetSpec(TargetKind.REGRESSION, targets=("w",), mean_K=(0.0,), std_K=(1.0,))
MULTILABEL = TargetSpec(TargetKind.MULTILABEL, classes=("a", "b"))


@pytest.mark.parametrize("target", [REGRESSION, MULTILABEL])
def test_classes_alone_are_balanced(target):
    check_balance_supported(Balance.NONE, target)
    for balance in set(Balance) - {Balance.NONE}:
        check_balance_supported(balance, TargetSpec(classes=("a", "b")))
        with raises(ParamsError, "balance"):
            check_balance_supported(balance, target)


def test_targets_are_not_smoothed():
    with raises(ParamsError, "finetune.smoothing"):
        loss_for(REGRESSION, smoothing=0.1)
