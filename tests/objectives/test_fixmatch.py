from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tasks.objectives.losses.fixmatch import FixMatch
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch


class Fixed(nn.Module):
    """A network whose logits are the first values of its input."""

    def forward(self, x):
        return x.flatten(1)[:, :3]


def test_fixmatch_learns_confident_predictions_from_the_strong_view():
    x = torch.zeros(3, 6, 2, 2)
    x[1, 0, 0, 0] = 20.0  # the weak view is confidently class 0
    x[1, 3, 0, 1] = 1.0  # the strong view is class 1
    y = torch.tensor([2, -1, -1])
    loss = FixMatch(cross_entropy(), 3, 0.9, weight=2.0)(Fixed(), Batch(x, y)).mean()
    strong = F.cross_entropy(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(loss, math.log(3) + 2.0 * strong / 2)  # one of the two unlabeled images is trusted


def test_a_higher_temperature_lowers_the_confidence():
    x, y = torch.zeros(2, 6, 2, 2), torch.tensor([0, -1])
    x[1, 0, 0, 0] = 5.0
    loss = FixMatch(cross_entropy(), 3, 0.9, weight=1.0)
    sure = loss(Fixed(), Batch(x, y))
    loss.temperature = 5.0
    assert loss(Fixed(), Batch(x, y))[1] == 0 < sure[1]


def test_flexmatch_lowers_the_threshold_of_what_is_learned_badly():
    loss = FixMatch(cross_entropy(), 3, 0.9, weight=1.0)
    p = torch.tensor([[0.95, 0.03, 0.02]] * 8 + [[0.02, 0.96, 0.02]] * 4 + [[0.2, 0.2, 0.6]])
    loss.adapt(p)
    first, second, third = loss.threshold_C.tolist()
    assert first == pytest.approx(0.9)
    assert second == pytest.approx(0.9 * 0.5 / 1.5)
    assert third == 0


def test_remixmatch_aligns_predictions_with_the_label_frequencies():
    loss = FixMatch(cross_entropy(), 3, 0.9, weight=1.0)
    loss.temperature = 2.0
    logits, prior = torch.randn(5000, 3) + torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.2, 0.3, 0.5])
    p = (logits / 2.0).softmax(1)
    loss.align(logits, prior)
    torch.testing.assert_close(loss.probabilities(logits), F.normalize(p * prior / p.mean(0), p=1, dim=1))
    assert (loss.probabilities(logits).mean(0) - prior).abs().max() < 0.05 < (p.mean(0) - prior).abs().max()
