"""Builds nonparametric heads from features: prototypes and nearest neighbors.

Shapes: N images, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.heads.linear import Probe, Rows, Train, probe
from tasks.heads.rows import BLOCK, Features, blocks_of
from tasks.scorer.heads import Neighbors, Prototypes

SCALES = (4.0, 8.0, 16.0, 32.0, 64.0)  # of a prototype head, selected on validation
NUMBERS = 2**24  # that a thread computes for validation rows at a time, unless a single row has more


def fit_prototypes(train: Train, validation: Rows, classes: int) -> list[Probe]:
    """Builds a prototype head for each scale, from the weighted mean of each class's normalized features (N, D)."""
    x_ND, y_N, weight_N = train
    weight_N1 = weight_N.double().unsqueeze(1)
    sum_CD = torch.zeros(classes, x_ND.shape[1], dtype=torch.float64)
    for block in blocks_of(len(y_N)):
        sum_CD.index_add_(0, y_N[block], F.normalize(x_ND[block], dim=1) * weight_N1[block])
    weight_C1 = torch.zeros(classes, 1, dtype=torch.float64).index_add_(0, y_N, weight_N1)
    means = (sum_CD / weight_C1).float()
    probes = []
    for scale in SCALES:
        head = Prototypes(x_ND.shape[1], classes)
        head.load_state_dict({"weight": means, "scale": torch.tensor(scale)})
        probes.append(probe(head, scale, validation))
    return probes


def fit_neighbors(train: Train, validation: Rows, classes: int, counts: Sequence[int]) -> list[Probe]:
    """Builds a nearest-neighbor head from all training rows, (N, D), for each number of neighbors.

    Each vote is weighted by its row's weight. All heads share one copy of the rows.
    """
    x_ND, y_N, weight_N = train
    state = {"keys_RD": _normalized(x_ND), "votes_RC": _votes(y_N, weight_N, classes)}
    probes = []
    for count in counts:
        neighbors = min(count, len(y_N))
        with torch.device("meta"):  # its tensors are those of `state`
            head = Neighbors(x_ND.shape[1], classes, len(y_N), neighbors)
        head.load_state_dict(state, assign=True)
        numbers = len(y_N) + neighbors * classes  # similarities and votes for a validation row
        probes.append(probe(head, count, validation, size=max(1, min(BLOCK, NUMBERS // numbers))))
    return probes


def _normalized(x_ND: Features) -> Tensor:
    """Returns the rows with the length one, (N, D) float32."""
    z_ND = torch.empty(x_ND.shape)
    for block in blocks_of(len(x_ND)):
        z_ND[block] = F.normalize(x_ND[block], dim=1)
    return z_ND


def _votes(y_N: Tensor, weight_N: Tensor, classes: int) -> Tensor:
    """Returns the votes for the class of each row, (N, C) float32: its weight relative to the mean."""
    vote_N1 = (weight_N / weight_N.mean()).float().unsqueeze(1)
    return torch.zeros(len(y_N), classes).scatter_(1, y_N.unsqueeze(1), vote_N1)
