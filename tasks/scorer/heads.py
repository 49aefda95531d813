"""Heads: from features (N, D) to logits (N, C) or target values (N, K).

Shapes: N images, D features, C classes, K targets or neighbors, R training rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def build_head(width: int, outputs: int, kind: str = "linear", **settings: int) -> nn.Module:
    """Builds a head, (N, D) to (N, C), of `kind` linear, dense (one hidden layer), prototype or knn.

    `settings` are the other keys of spec.json's `head`; `scaled` = 1 adds the scale of standardized targets.
    """
    if settings.pop("scaled", 0):
        return Scaled(build_head(width, outputs, kind, **settings), outputs)
    if kind == "dense":
        hidden = settings["hidden"]
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    if kind == "prototype":
        return Prototypes(width, outputs)
    if kind == "knn":
        return Neighbors(width, outputs, **settings)
    return nn.Linear(width, outputs)


class Scaled(nn.Module):
    """A head that predicts standardized targets and rescales them by the targets' standard deviation and mean."""

    mean_K: Tensor
    spread_K: Tensor

    def __init__(self, inner: nn.Module, outputs: int) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean_K", torch.zeros(outputs))
        self.register_buffer("spread_K", torch.ones(outputs))

    def set_scale(self, mean_K: Sequence[float], spread_K: Sequence[float]) -> None:
        """Sets the mean and standard deviation of the training targets, (K,) each."""
        self.mean_K.copy_(torch.tensor(mean_K))
        self.spread_K.copy_(torch.tensor(spread_K))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Returns regression values, (N, K), for features (N, D)."""
        values: Tensor = self.inner(x_ND) * self.spread_K + self.mean_K
        return values


class Prototypes(nn.Module):
    """Cosine similarity to one prototype per class, times a scale (Snell et al., "Prototypical Networks", 2017)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, width))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Returns logits, (N, C), for features (N, D)."""
        return self.scale * F.normalize(x_ND, dim=1) @ F.normalize(self.weight, dim=1).T


class Neighbors(nn.Module):
    """Votes of the nearest training features by cosine similarity (Wu et al., "Instance Discrimination", 2018)."""

    keys_RD: Tensor
    votes_RC: Tensor

    def __init__(self, width: int, outputs: int, rows: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.register_buffer("keys_RD", torch.zeros(rows, width))
        self.register_buffer("votes_RC", torch.zeros(rows, outputs))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Returns logits, (N, C), for features (N, D): log vote shares; a vote weighs exp(cosine / 0.07)."""
        nearest = (F.normalize(x_ND, dim=1) @ self.keys_RD.T).topk(self.neighbours, dim=1)
        weight_NK1 = (nearest.values / 0.07).softmax(1).unsqueeze(2)
        return ((self.votes_RC[nearest.indices] * weight_NK1).sum(1) + 1e-3).log()
