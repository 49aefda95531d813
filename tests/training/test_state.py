from __future__ import annotations

import pytest
import torch

from tasks.models.freezing import freeze_all_but_last, parameter_groups
from tasks.scorer.network import build_network
from tasks.training.state import FitState


def test_only_what_learns_is_kept_in_checkpoints():
    network = build_network("resnet10", 3)
    groups = parameter_groups(network, freeze_all_but_last(network.backbone, 1), 0.1, 0.1, 1)
    names = set(FitState(network, torch.optim.SGD([{"params": group.parameters} for group in groups], 0.1)).learned())
    assert {"head.weight", "backbone.layer4.0.bn1.running_mean", "backbone.layer4.0.conv1.weight"} <= names
    assert not any(name.startswith(("backbone.conv1", "backbone.layer3")) for name in names)


def test_the_moving_average_is_that_of_the_weights():
    network = torch.nn.Linear(1, 1)
    optimiser = torch.optim.SGD([{"params": list(network.parameters())}], 0.1)
    state = FitState(network, optimiser, decay=0.5)
    expected = network.weight.item()
    for number in range(1, 30):
        with torch.no_grad():
            network.weight.add_(1)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * network.weight.item()
        state.average(number)
    now = network.weight.item()
    with state.averaged():
        assert network.weight.item() == pytest.approx(expected)
    assert network.weight.item() == now
