"""Combines a backbone and a head into one network. Shapes: N images, S side, D features, C outputs."""

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
        """Returns logits, or regression values, (N, C), for images (N, 3, S, S)."""
        logits: Tensor = self.head(self.backbone(x_N3SS))
        return logits


def build_network(
    architecture: str, outputs: int, cut: str = "layer", kind: str = "linear", **settings: int
) -> Network:
    """Builds a network with random weights; `cut` as in `build_backbone`, `kind` and `settings` as in `build_head`."""
    backbone, width = build_backbone(architecture, cut)
    return Network(backbone, build_head(width, outputs, kind, **settings))
