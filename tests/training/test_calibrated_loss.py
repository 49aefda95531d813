from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tasks.core.schema import Balance
from tasks.core.target import TargetSpec
from tasks.training.calibrated_loss import at_best_temperature
from tasks.training.kinds import measure_for
from tasks.training.measures import measure_classes


@pytest.mark.parametrize("balance", [Balance.NONE, Balance.WEIGHTS])
def test_the_loss_at_the_best_temperature_prefers_fewer_errors_and_ignores_confidence(balance):
    truth, measure = (torch.arange(40) % 4 == 0).long(), measure_for(TargetSpec(classes=("a", "b")), balance)
    few, many = (4.0 * F.one_hot(truth, 2) + torch.randn(40, 2) for _ in range(2))
    few[:1], many[:4] = few[:1].flip(1), many[:4].flip(1)
    assert measure(few, truth)[0] < measure(many, truth)[0]
    assert measure(9.0 * few, truth)[0] == pytest.approx(measure(few, truth)[0], rel=1e-3)
    assert measure_classes(9.0 * few, truth)[0] > 2 * measure(few, truth)[0]


def test_among_all_correct_predictions_the_more_confident_ones_are_better():
    truth = torch.arange(40) % 2
    sure, surer = (factor * F.one_hot(truth, 2).float() for factor in (4.0, 8.0))
    measure = at_best_temperature(measure_classes)
    assert measure(surer, truth)[0] < measure(sure, truth)[0]
