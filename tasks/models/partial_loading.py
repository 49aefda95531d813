"""Initializes a network from another network's weights, wherever names and shapes match."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.scorer.architectures import build_backbone

EARLIER = "head."  # prefix of an earlier model's head among the parameter names of its backbone


def load_matching(architecture: str, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Returns a state dict of the architecture and a report of the parameters taken from `state`.

    Parameters without a match keep their initialization, with a fixed seed. Raises RootstockError if none matches.
    """
    torch.manual_seed(0)
    module, _ = build_backbone(architecture)
    initial = module.state_dict()
    taken = {name for name, tensor in initial.items() if name in state and state[name].shape == tensor.shape}
    parameters = {name: tensor.numel() for name, tensor in module.named_parameters()}
    matched = sum(count for name, count in parameters.items() if name in taken)
    if not matched:
        raise RootstockError(
            f"backbone.match: no parameter of a {architecture} matches one in backbone.weights by name and shape; "
            "use weights of a similar architecture, or set backbone.match to strict",
            key="backbone.match",
        )
    fresh = [name for name in parameters if name not in taken]
    listed = ", ".join(fresh[:3]) + (f" and {len(fresh) - 3} more" if len(fresh) > 3 else "")
    report = f"{matched:,} of {sum(parameters.values()):,} parameters taken by name and shape"
    report += f"; at random: {listed}" if fresh else ""
    return {name: state[name].to(tensor.dtype) if name in taken else tensor for name, tensor in initial.items()}, report
