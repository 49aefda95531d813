"""Builds the candidates' networks: the linear probe and the baseline from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.core.target import TargetSpec
from tasks.models.backbone import Backbone
from tasks.models.weights_file import read
from tasks.scorer.heads import Prototypes, Scaled, build_head
from tasks.scorer.network import Network, build_network


def probe_network(backbone: Backbone, head_weights: Path, outputs: int) -> Network:
    """Returns the pretrained backbone with the trained head: the probe, the starting point of fine-tuning."""
    state, settings = read(head_weights)
    head = build_head(backbone.width, outputs, **settings)
    head.load_state_dict(state)
    return Network(backbone.module, head)


def shrink_head(head: nn.Module, factor: float) -> None:
    """Multiplies the logits of a linear, dense or prototype head by `factor`, in place."""
    last = head[-1] if isinstance(head, nn.Sequential) else head
    parameters = [last.scale] if isinstance(last, Prototypes) else last.parameters()
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(factor)


def scratch_network(architecture: str, cut: str, head: Mapping[str, Any], target: TargetSpec, seed: int) -> Network:
    """Returns the network with random weights from `seed`; a nonparametric head is replaced with a linear head."""
    torch.manual_seed(seed)
    network = build_network(architecture, target.num_outputs, cut, **scratch_head(head))
    if isinstance(network.head, Scaled):
        network.head.set_scale(target.mean_K, target.std_K)
    return network


def scratch_head(head: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the head settings of the baseline from scratch: a nonparametric head becomes linear."""
    return dict(head) if head["kind"] in {"linear", "dense"} else {"kind": "linear"}
