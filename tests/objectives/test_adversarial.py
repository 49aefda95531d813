from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tasks.objectives.losses.adversarial import Attack, GrowingAttack, adversarial, divergence, trades
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch
from tests.objectives.examples import small

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 5])
def test_attacks_stay_within_their_budget_and_do_harm(norm, steps):
    network = small()
    pixels = torch.rand(16, 3, 4, 4)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    x, y = (pixels - mean) / std, torch.arange(16) % 3
    radius = 0.1 if norm == "linf" else 0.5
    loss = cross_entropy()
    changed = Attack(norm, radius, steps, MEAN, STD)(network, x, lambda output: loss(lambda _: output, Batch(x, y)))
    change = (changed * std + mean) - pixels
    length = change.flatten(1).abs().amax(1) if norm == "linf" else change.flatten(1).norm(dim=1)
    assert (length <= radius + 1e-5).all()
    assert ((changed * std + mean) > -1e-5).all()
    assert ((changed * std + mean) < 1 + 1e-5).all()
    assert loss(network, Batch(changed, y)).mean() > loss(network, Batch(x, y)).mean()


def test_a_growing_radius_ends_at_the_configured_value():
    network, pixels, y = small(), torch.rand(8, 3, 4, 4), torch.arange(8) % 3
    growing, loss = GrowingAttack(Attack("linf", 0.3, 1, (0,) * 3, (1,) * 3, step=0.4), epochs=2), cross_entropy()
    lengths = []
    for epoch in range(4):
        growing.begin(epoch)
        changed = growing(network, pixels, lambda output: loss(lambda _: output, Batch(pixels, y)))
        lengths.append((changed - pixels).abs().max().item())
    assert lengths == pytest.approx([0.1, 0.2, 0.3, 0.3], abs=0.02)
    assert (growing.now.radius, growing.now.step) == (0.3, 0.4)


def test_an_attack_without_growth_has_the_full_radius_from_the_start():
    growing = GrowingAttack(Attack("linf", 0.3, 1, MEAN, STD), epochs=0)
    growing.begin(0)
    assert growing.now.radius == 0.3


def test_an_attack_moves_no_statistics_and_leaves_no_gradients():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x, y = torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])
    Attack("linf", 0.1, 3, MEAN, STD)(network, x, lambda output: F.cross_entropy(output, y, reduction="none"))
    assert network.training
    assert network[0].training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_adversarial_and_trades_losses_are_their_formulas():
    network, x, y = small(), torch.randn(8, 3, 4, 4), torch.arange(8) % 3
    attack = Attack("linf", 0.1, 2, MEAN, STD)
    torch.manual_seed(3)
    loss = adversarial(cross_entropy(), attack)(network, Batch(x, y))
    torch.manual_seed(3)
    changed = attack(network, x, lambda output: F.cross_entropy(output, y, reduction="none"))
    torch.testing.assert_close(loss, F.cross_entropy(network(changed), y, reduction="none"))
    torch.manual_seed(4)
    loss = trades(cross_entropy(), attack, 6.0)(network, Batch(x, y))
    torch.manual_seed(4)
    clean = network(x)
    changed = attack(network, x, lambda output: divergence(output, clean.detach()))
    expected = F.cross_entropy(clean, y, reduction="none") + 6 * divergence(network(changed), clean)
    torch.testing.assert_close(loss, expected)
