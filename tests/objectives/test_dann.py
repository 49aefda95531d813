from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tasks.objectives.losses.dann import Dann
from tests.objectives.examples import half_labeled, small


def test_dann_trains_the_critic_to_separate_domains_and_reverses_the_gradient_for_the_backbone():
    batch, network = half_labeled(), small()
    dann = Dann(lambda _network, batch: torch.zeros(len(batch.target)), 4, 1.0)
    dann.begin(9, 10)
    assert dann.reversal == pytest.approx(1, abs=1e-3)
    loss = dann(network, batch).mean()
    gradients = torch.autograd.grad(loss, [network.backbone[1].weight, dann.critic[0].weight])
    domain = dann.critic(network.backbone(batch.inputs))[:, 0]
    expected = F.binary_cross_entropy_with_logits(domain, (batch.target >= 0).float())
    plain = torch.autograd.grad(expected, [network.backbone[1].weight, dann.critic[0].weight])
    torch.testing.assert_close(gradients[1], plain[1])
    torch.testing.assert_close(gradients[0], -dann.reversal * plain[0])
    dann.begin(0, 10)
    assert 0 < dann.reversal < 0.3
