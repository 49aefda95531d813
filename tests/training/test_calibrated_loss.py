from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tasks.core.schema import Balance
from tasks.training.calibrated_loss import refined
from tasks.training.goal import Goal
from tasks.training.measures import measure_classes


@pytest.mark.parametrize("balance", [Balance.NONE, Balance.WEIGHTS])
def test_the_refined_loss_prefers_fewer_mistakes_and_minds_no_sureness(balance):
    truth, measure = (torch.arange(40) % 4 == 0).long(), Goal(("a", "b")).measure(balance)
    few, many = (4.0 * F.one_hot(truth, 2) + torch.randn(40, 2) for _ in range(2))
    few[:1], many[:4] = few[:1].flip(1), many[:4].flip(1)
    assert measure(few, truth)[0] < measure(many, truth)[0]
    assert measure(9.0 * few, truth)[0] == pytest.approx(measure(few, truth)[0], rel=1e-3)
    assert measure_classes(9.0 * few, truth)[0] > 2 * measure(few, truth)[0]


def test_where_all_answers_are_right_the_surer_ones_are_better():
    truth = torch.arange(40) % 2
    sure, surer = (factor * F.one_hot(truth, 2).float() for factor in (4.0, 8.0))
    assert refined(measure_classes)(surer, truth)[0] < refined(measure_classes)(sure, truth)[0]
