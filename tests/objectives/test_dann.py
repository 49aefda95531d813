from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tasks.objectives.losses.dann import Dann
from tests.objectives.examples import half_known, small


def test_dann_teaches_the_critic_to_tell_and_the_backbone_to_hide():
    (x, y), network = half_known(), small()
    dann = Dann(lambda network, x, y: torch.zeros(len(y)), 4, 1.0)
    dann.begin(9, 10)
    assert dann.reversal == pytest.approx(1, abs=1e-3)
    loss = dann(network, x, y).mean()
    own = torch.autograd.grad(loss, [network.backbone[1].weight, dann.critic[0].weight])
    told = dann.critic(network.backbone(x))[:, 0]
    wanted = F.binary_cross_entropy_with_logits(told, (y >= 0).float())
    plain = torch.autograd.grad(wanted, [network.backbone[1].weight, dann.critic[0].weight])
    torch.testing.assert_close(own[1], plain[1])
    torch.testing.assert_close(own[0], -dann.reversal * plain[0])
    dann.begin(0, 10)
    assert 0 < dann.reversal < 0.3
