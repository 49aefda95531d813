"""Builds nonparametric heads from features: prototypes and nearest neighbors.

Shapes: N images, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from tasks.heads.linear import Probe, Rows, Train, probe
from tasks.heads.rows import blocks_of
from tasks.scorer.heads import Neighbors, Prototypes

SCALES = (4.0, 8.0, 16.0, 32.0, 64.0)  # of a prototype head, selected on validation


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

    Each vote is weighted by its row's weight.
    """
    x_ND, y_N, weight_N = train[0][:], train[1], train[2]
    votes_RC = F.one_hot(y_N, classes) * (weight_N / weight_N.mean()).float().unsqueeze(1)
    probes = []
    for count in counts:
        head = Neighbors(x_ND.shape[1], classes, len(x_ND), min(count, len(x_ND)))
        head.load_state_dict({"keys_RD": F.normalize(x_ND, dim=1), "votes_RC": votes_RC})
        probes.append(probe(head, count, validation))
    return probes
