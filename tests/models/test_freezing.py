from __future__ import annotations

import hashlib

import pytest
import torch

from tasks.models.freezing import blocks, freeze_all_but_last, learn_mode, parameter_groups
from tasks.scorer.architectures import build_backbone
from tasks.scorer.network import build_network


def digest(module, names=None):
    state = module.state_dict()
    parts = (state[name].numpy().tobytes() for name in sorted(state if names is None else names))
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize(
    ("architecture", "count", "last"),
    [
        ("resnet10", 5, ("layer4.0",)),
        ("resnet18", 9, ("layer4.1",)),
        ("mobilenet_v2", 19, ("features.18",)),
        ("squeezenet1_1", 9, ("features.12",)),
    ],
)
def test_blocks_are_ordered_and_hold_every_parameter(architecture, count, last):
    module, _ = build_backbone(architecture)
    ordered = blocks(module)
    assert (len(ordered), ordered[-1]) == (count, last)
    held = {
        name for block in ordered for part in block for name, _ in module.get_submodule(part).named_parameters(part)
    }
    assert held == {name for name, _ in module.named_parameters()}


@pytest.mark.parametrize("count", [0, 1, 2, 99])
@pytest.mark.parametrize("statistics", [True, False])
def test_what_is_frozen_stays_so_in_training_mode_by_hash(count, statistics):
    """Covers parameters and BatchNorm buffers, after real steps."""
    network = build_network("resnet10", 3)
    learning = freeze_all_but_last(network.backbone, count)
    frozen = [
        name
        for name in network.backbone.state_dict()
        if not any(name.startswith(f"{part}.") for block in learning for part in block)
    ]
    before, all_before = digest(network.backbone, frozen), digest(network.backbone)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        learn_mode(network, learning, batch_statistics=statistics)
        optimizer.zero_grad()
        network(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    assert digest(network.backbone, frozen) == before
    assert (digest(network.backbone) == all_before) == (count == 0)
    buffers = {name for name in network.backbone.state_dict() if name.endswith("num_batches_tracked")}
    moved = {name for name in buffers if network.backbone.state_dict()[name] > 0}
    assert bool(moved) == (statistics and count > 0)


def test_rates_fall_from_block_to_block():
    network = build_network("resnet10", 3)
    learning = freeze_all_but_last(network.backbone, 3)
    groups = parameter_groups(network, learning, 1.0, 0.1, 0.5)
    assert [group.lr for group in groups] == [1.0, 0.1, 0.05, 0.025]
    assert groups[1].parameters[0] is next(network.backbone.get_submodule("layer4.0").parameters())
    grouped = {id(p) for group in groups for p in group.parameters}
    assert grouped == {id(p) for p in network.parameters() if p.requires_grad}
