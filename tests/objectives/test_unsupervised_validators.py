from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tasks.objectives.unsupervised_validators import information, neighborhood


def test_validators_prefer_confident_predictions_that_use_all_classes():
    labels = torch.arange(30) % 3
    good, torn, one = 8 * F.one_hot(labels, 3).float(), torch.randn(30, 3) * 0.1, 8 * F.one_hot(labels * 0, 3).float()
    assert information(good) == pytest.approx(math.log(3), abs=0.05)
    assert information(good) > information(torn)
    assert information(good) > information(one)
    mixed = good.clone()
    mixed[::2] = torch.randn(15, 3)
    assert neighborhood(good) > neighborhood(mixed)


def test_one_image_has_no_neighborhood():
    assert neighborhood(torch.randn(1, 3)) == 0
