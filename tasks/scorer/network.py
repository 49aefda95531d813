"""A backbone and a head as one network."""

from __future__ import annotations

from torch import Tensor, nn

from .architectures import build_backbone
from .heads import build_head


class Network(nn.Module):
    """A backbone, (N, 3, S, S) to (N, D), and a head, (N, D) to (N, C)."""

    backbone: nn.Module
    head: nn.Module

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Logits, (N, C)."""
        logits: Tensor = self.head(self.backbone(x_N3SS))
        return logits


def build_network(
    architecture: str, outputs: int, cut: str = "layer", kind: str = "linear", **settings: int
) -> Network:
    """A network with random weights: `architecture` without what `cut` names, and a head of this `kind`."""
    backbone, width = build_backbone(architecture, cut)
    return Network(backbone, build_head(width, outputs, kind, **settings))
