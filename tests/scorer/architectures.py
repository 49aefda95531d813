"""Checks of Rootstock's requirements on an architecture, with random weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torchvision import models

from tasks.models.backbone import embed, preprocessing_of
from tasks.models.freezing import blocks, freeze_all_but_last, learn_mode, parameter_groups
from tasks.scorer.architectures import build_backbone
from tasks.scorer.network import Network

ALL = tuple(models.list_models(module=models))
REAL = 100_000_000  # parameters of the largest network that is run; larger networks are only inspected
SIDE = {"vit": 224, "swin": 64, "maxvit": 224, "inception": 96}  # pixels; other architectures use 64


@contextmanager
def uninitialized() -> Iterator[None]:
    """Builds networks without initializing their weights, so that even the largest takes no time and no memory."""
    kept = {name: getattr(nn.init, name) for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")}
    for name in kept:
        setattr(nn.init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(nn.init, name, function)


def structure(architecture: str) -> tuple[nn.Module, int, list[tuple[str, ...]]]:
    """Returns the network with uninitialized weights, its width and its blocks."""
    with uninitialized():
        module, width = build_backbone(architecture)
    return module, width, blocks(module)


def side_of(architecture: str) -> int:
    return next((side for family, side in SIDE.items() if architecture.startswith(family)), 64)


def examined(architecture: str) -> dict[str, object]:
    """Builds the architecture and trains head and last block for one step. Returns facts. Raises AssertionError."""
    preprocessing = preprocessing_of(architecture, {}, None, None)
    module, width, ordered = structure(architecture)
    size = sum(parameter.numel() for parameter in module.parameters())
    held = {name for block in ordered for name, _ in module.named_parameters() if within(name, block)}
    assert held == {name for name, _ in module.named_parameters()}
    facts = {
        "parameters": size,
        "width": width,
        "blocks": len(ordered),
        "crop": preprocessing.crop,
        "computed": size <= REAL,
    }
    if size <= REAL:
        torch.manual_seed(0)
        module, _ = build_backbone(architecture)
        step_keeps_the_frozen_part(Network(module, nn.Linear(width, 3)), side_of(architecture))
        assert embed(module.eval(), torch.randn(2, 3, side_of(architecture), side_of(architecture))).shape == (2, width)
    return facts


def step_keeps_the_frozen_part(network: Network, side: int) -> None:
    learning = freeze_all_but_last(network.backbone, 1)
    frozen = [name for name in network.backbone.state_dict() if not within(name, learning[0])]
    groups = parameter_groups(network, learning, 0.1, 0.1, 1.0)
    before, head = digest(network.backbone, frozen), digest(network.head, list(network.head.state_dict()))
    optimizer = torch.optim.SGD([p for group in groups for p in group.parameters], 0.1)
    learn_mode(network, learning, batch_statistics=True)
    network(torch.randn(2, 3, side, side)).square().mean().backward()
    optimizer.step()
    assert digest(network.backbone, frozen) == before, "what is frozen changed"
    assert digest(network.head, list(network.head.state_dict())) != head, "the head did not learn"


def within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def digest(module: nn.Module, names: list[str]) -> str:
    state = module.state_dict()
    return hashlib.sha256(b"".join(state[name].numpy().tobytes() for name in sorted(names))).hexdigest()


def norms(network: nn.Module) -> int:
    """Returns the number of BatchNorm layers."""
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
