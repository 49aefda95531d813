from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tasks.core.schema import Curve
from tasks.core.target import TargetKind, TargetSpec
from tasks.hardware.microbatches import MicroBatches
from tasks.objectives.losses.distillation import Distillation, DistillationWeights
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.losses.squared_error import squared_error
from tasks.training.measures import measure_values
from tasks.training.types import Batch, Outputs
from tests.objectives.examples import half_labeled, small

THREE = TargetSpec(classes=("a", "b", "c"))


def distillation(widths=None, **changes):
    weights = DistillationWeights(**{"temperature": 3.0, "labels": 0.2, **changes})
    return Distillation(THREE, cross_entropy(), weights, widths)


def test_distillation_is_hintons_loss_on_labeled_and_unlabeled_rows():
    network, teacher = small(), torch.randn(8, 3)
    batch = half_labeled()._replace(teacher=teacher)
    distilled = distillation(labeled_fraction=0.5)
    loss = distilled(network, batch).mean()
    parts = [distilled(network, part).sum() for part in MicroBatches(4).of(batch)]
    torch.testing.assert_close(sum(parts) / 8, loss)  # the last two have no label
    logits = network(batch.inputs)
    soft = 9 * F.kl_div((logits / 3).log_softmax(1), (teacher / 3).softmax(1), reduction="batchmean")
    hard = F.cross_entropy(logits[:4], batch.target[:4])
    torch.testing.assert_close(loss, 0.8 * soft + 0.2 * hard)


def test_a_student_that_matches_the_teacher_has_no_distillation_loss():
    batch, network = half_labeled(), small()
    logits = network(batch.inputs).detach()
    distilled = distillation(labels=0.0)
    assert distilled(network, batch._replace(teacher=logits)).abs().max() < 1e-5
    scoring = distilled.scoring(lambda out, y: (0.0, (out.argmax(1) == y).double().mean().item()))
    loss, score, extra = scoring(Outputs(logits, batch.target, logits))
    assert (loss, extra[Curve.AGREEMENT]) == (pytest.approx(0, abs=1e-5), 1.0)
    assert score == extra[Curve.TEACHER_SCORE]


def test_matched_features_teach_the_backbone():
    batch, network = half_labeled(), small()
    batch = batch._replace(teacher=torch.cat([network(batch.inputs).detach(), torch.randn(8, 5)], 1))
    distilled = distillation(labels=0.0, features=1.0, widths=(4, 5))
    optimizer = torch.optim.Adam([*network.parameters(), *distilled.map.parameters()], 0.02)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = distilled(network, batch).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_distillation_of_targets_is_the_squared_error_to_the_teacher():
    x, network = torch.randn(6, 3, 4, 4), small(classes=2)
    y = torch.randn(6, 2)
    y[3:] = math.nan
    teacher = torch.randn(6, 2)
    target = TargetSpec(TargetKind.REGRESSION, targets=("w", "h"), mean_K=(0.0, 0.0), std_K=(1.0, 2.0))
    distilled = Distillation(target, squared_error((1.0, 2.0)), DistillationWeights(1.0, 0.5, 0.5))
    loss = distilled(network, Batch(x, y, teacher=teacher)).mean()
    out, spread = network(x), torch.tensor([1.0, 2.0])
    soft, hard = (((out - teacher) / spread) ** 2).mean(), (((out - y) / spread)[:3] ** 2).mean()
    torch.testing.assert_close(loss, 0.5 * soft + 0.5 * hard)
    scored = distilled.scoring(measure_values((1.0, 2.0)))(Outputs(teacher, teacher, teacher))
    assert scored.extra[Curve.AGREEMENT] == pytest.approx(1)
