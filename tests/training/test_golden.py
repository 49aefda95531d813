"""Four pinned training losses of a tiny network for each objective: any change in them is a change in behavior.

Modeled on torchtune's recipe tests. Float32 on the CPU, drawn data, fixed seeds; 419 parameters with three outputs.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.core.schema import Curve
from tasks.core.target import TargetKind, TargetSpec
from tasks.hardware.device import choose
from tasks.heads.nonlinear import NoCheckpoint
from tasks.models.freezing import ParameterGroup
from tasks.objectives.losses.adversarial import Attack, adversarial
from tasks.objectives.losses.distillation import Distillation, DistillationWeights
from tasks.scorer.network import Network
from tasks.training.kinds import loss_for, measure_for
from tasks.training.loop import Schedule, fit, score
from tasks.training.types import Batch, scoring

CPU = choose("cpu", "float32")
ROWS, BATCH = 24, 8
SCHEDULE = Schedule(epochs=4, steps_per_epoch=3, warmup=0.1, weight_decay=0.01, patience=9, seed=3)
CLASSES = TargetSpec(classes=("a", "b", "c"))
LABELS = TargetSpec(TargetKind.MULTILABEL, classes=("a", "b", "c"))
VALUES = TargetSpec(TargetKind.REGRESSION, targets=("u", "v"), mean_K=(0.0, 0.0), std_K=(1.0, 2.0))
DISTILLATION = Distillation(CLASSES, loss_for(CLASSES), DistillationWeights(temperature=2.0, labels=0.2))
PGD = Attack("linf", 0.1, 2, (0.5,) * 3, (0.5,) * 3)


def tiny(outputs):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU())
    return Network(backbone, nn.Linear(8, outputs))


def drawn(target):
    """Returns inputs (N, 3, 4, 4), targets derived from them, and a teacher's outputs (N, 3)."""
    x = torch.randn(ROWS, 3, 4, 4)
    signal = x.mean((2, 3)) * 4
    targets = {
        TargetKind.CLASSIFICATION: signal.argmax(1),
        TargetKind.MULTILABEL: (signal > 0).float(),
        TargetKind.REGRESSION: signal[:, :2],
    }
    return Batch(x, targets[target.kind], torch.linspace(0.5, 1.5, ROWS), signal)


def train_losses(target, loss):
    """Returns the mean loss of each of four epochs."""
    torch.manual_seed(0)
    network, rows = tiny(target.num_outputs), drawn(target)
    batches = [Batch(*parts) for parts in zip(*(column.split(BATCH) for column in rows), strict=True)]
    progress = fit(
        network,
        lambda _epoch: batches,
        lambda: score(network, batches, CPU, scoring(measure_for(target))),
        loss,
        SCHEDULE,
        groups=[ParameterGroup(list(network.parameters()), 0.02)],
        prepare_epoch=lambda _epoch: network.train(),
        device=CPU,
        checkpoint=NoCheckpoint(),
        on_row=lambda _row: None,
    )
    return [row[Curve.TRAIN_LOSS] for row in progress.rows[1:]]


@pytest.mark.parametrize(
    ("target", "loss", "expected"),
    [
        (CLASSES, loss_for(CLASSES), [1.147024, 0.900287, 0.763215, 0.703869]),
        (VALUES, loss_for(VALUES), [0.442724, 0.213524, 0.145826, 0.124395]),
        (LABELS, loss_for(LABELS), [0.695600, 0.593745, 0.530681, 0.504455]),
        (CLASSES, DISTILLATION, [0.419137, 0.299852, 0.243452, 0.222367]),
        (CLASSES, adversarial(loss_for(CLASSES), PGD), [1.267333, 1.096021, 1.037623, 1.027783]),
    ],
    ids=["labels", "regression", "multilabel", "distillation", "pgd"],
)
def test_a_fit_has_the_losses_that_it_always_had(target, loss, expected):
    assert train_losses(target, loss) == pytest.approx(expected, rel=1e-4)
