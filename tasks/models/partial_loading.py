"""A new network that begins with what a bigger or different one knows, where names and shapes match (article, 2.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.scorer.architectures import build_backbone

EARLIER = "head."  # begins the names of an earlier model's head, beside its backbone


def load_matching(architecture: str, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The backbone's state, what is not in `state` drawn at random, always the same; and a report of what was taken.

    Raises RootstockError if nothing matches.
    """
    torch.manual_seed(0)
    module, _ = build_backbone(architecture)
    own = module.state_dict()
    taken = {name for name, tensor in own.items() if name in state and state[name].shape == tensor.shape}
    parameters = {name: tensor.numel() for name, tensor in module.named_parameters()}
    known = sum(count for name, count in parameters.items() if name in taken)
    if not known:
        raise RootstockError(
            f"backbone.match: no parameter of a {architecture} has the name and shape of one in backbone.weights; "
            "take weights of a nearer relative, or backbone.match: strict"
        )
    fresh = [name for name in parameters if name not in taken]
    named = ", ".join(fresh[:3]) + (f" and {len(fresh) - 3} more" if len(fresh) > 3 else "")
    report = f"{known:,} of {sum(parameters.values()):,} parameters taken by name and shape"
    report += f"; at random: {named}" if fresh else ""
    return {name: state[name].to(tensor.dtype) if name in taken else tensor for name, tensor in own.items()}, report
