"""Heads beside the linear one: the article's dense layer, prototypes, nearest neighbours.

Shapes: N images, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.parts.device import Device
from tasks.parts.fit import Batch, Measure, Objective, Recipe, fit, measure_classes, score
from tasks.parts.heads import Probe, Rows, probe
from tasks.parts.objectives.cross_entropy import cross_entropy
from tasks.parts.scorer import Neighbours, Prototypes, build_head

PATIENCE = 10  # epochs without a lower validation loss before a dense head stops
FLOOR = 0.05  # of a feature's standard deviation, as a fraction of all features': rare ones are not blown up
SCALES = (4.0, 8.0, 16.0, 32.0, 64.0)  # of a prototype head, chosen on validation
CPU = Device(torch.device("cpu"), torch.float32)


class Forgetful:
    """A checkpoint that keeps nothing: a head is fitted within seconds."""

    def load(self) -> None:
        """Nothing was saved."""

    def save(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Nothing is."""


def fit_dense(
    train: Rows,
    validation: Rows,
    classes: int,
    hidden: int,
    strengths: Sequence[float],
    rate: float,
    epochs: int,
    batch: int,
    seed: int,
    objective: Objective = cross_entropy,
    measure: Measure = measure_classes,
) -> list[Probe]:
    """Dense(hidden, ReLU) and a linear layer for each weight decay, by AdamW with early stopping.

    Features are standardised by the training rows, which is then folded into the first layer.
    """
    x_ND, _ = train
    mean_D, deviation_D = x_ND.mean(0), x_ND.std(0, correction=0)
    deviation_D = deviation_D.clamp_min(FLOOR * float(deviation_D.mean()))
    inputs = [((x - mean_D) / deviation_D, y) for x, y in (train, validation)]
    probes = []
    for strength in sorted(strengths, reverse=True):
        torch.manual_seed(seed)
        head = build_head(x_ND.shape[1], classes, "dense", hidden=hidden)
        _fit(head, inputs[0], inputs[1], strength, rate, epochs, batch, seed, objective, measure)
        probes.append(probe(_folded(head, mean_D, deviation_D), strength, validation, measure))
    return probes


def _fit(
    head: nn.Module,
    train: Rows,
    validation: Rows,
    decay: float,
    rate: float,
    epochs: int,
    batch: int,
    seed: int,
    objective: Objective,
    measure: Measure,
) -> None:
    def batches(epoch: int) -> Iterator[Batch]:
        order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
        yield from ((train[0][part], train[1][part]) for part in order.split(batch))  # type: ignore[no-untyped-call]

    fit(
        head,
        batches,
        lambda: score(head, [validation], CPU, measure),
        objective,
        Recipe(epochs, -(-len(train[0]) // batch), 0.1, decay, PATIENCE, seed),
        groups=[{"params": list(head.parameters()), "rate": rate}],
        learn_mode=lambda: None,
        device=CPU,
        checkpoint=Forgetful(),
        on_row=lambda _row: None,
    )


def _folded(head: nn.Module, mean_D: Tensor, deviation_D: Tensor) -> nn.Module:
    """The same head for features as they are."""
    first = head.get_submodule("0")
    with torch.no_grad():
        first.weight.div_(deviation_D)  # type: ignore[operator]
        first.bias.sub_(first.weight @ mean_D)  # type: ignore[operator]
    return head


def fit_prototypes(train: Rows, validation: Rows, classes: int) -> list[Probe]:
    """The mean of each class's normalised features, with each scale."""
    x_ND, y_N = train
    normal_ND = F.normalize(x_ND, dim=1)
    means = torch.stack([normal_ND[y_N == place].mean(0) for place in range(classes)])
    probes = []
    for scale in SCALES:
        head = Prototypes(x_ND.shape[1], classes)
        head.load_state_dict({"weight": means, "scale": torch.tensor(scale)})
        probes.append(probe(head, scale, validation))
    return probes


def fit_neighbours(train: Rows, validation: Rows, classes: int, counts: Sequence[int]) -> list[Probe]:
    """All training rows as they are, asked for each number of neighbours that there are rows for."""
    x_ND, y_N = train
    votes_RC = F.one_hot(y_N, classes).float()
    probes = []
    for count in counts:
        head = Neighbours(x_ND.shape[1], classes, len(x_ND), min(count, len(x_ND)))
        head.load_state_dict({"keys_RD": F.normalize(x_ND, dim=1), "votes_RC": votes_RC})
        probes.append(probe(head, count, validation))
    return probes
