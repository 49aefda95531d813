from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tasks.core.schema import Curve
from tasks.objectives.losses.distillation import Distillation
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.losses.squared_error import squared_error
from tasks.training.measures import measure_values
from tests.objectives.examples import half_known, small


def distillation(**more):
    settings = {"temperature": 3.0, "labels": 0.2} | more
    return Distillation("classes", 3, cross_entropy(), **settings)


def test_distillation_is_hintons_loss_on_labelled_and_unlabelled_rows():
    (x, y), network, teacher = half_known(), small(), torch.randn(8, 3)
    truth = torch.cat([y[:, None].float(), teacher], 1)
    objective = distillation(known=0.5)
    loss = objective(network, x, truth).mean()
    parts = [objective(network, x[part], truth[part]).sum() for part in torch.arange(8).split(2)]
    torch.testing.assert_close(sum(parts) / 8, loss)  # the last two have no label
    logits = network(x)
    soft = 9 * F.kl_div((logits / 3).log_softmax(1), (teacher / 3).softmax(1), reduction="batchmean")
    hard = F.cross_entropy(logits[:4], y[:4])
    torch.testing.assert_close(loss, 0.8 * soft + 0.2 * hard)


def test_a_student_that_answers_as_the_teacher_has_nothing_left_to_learn():
    (x, y), network = half_known(), small()
    logits = network(x).detach()
    objective = distillation(labels=0.0)
    truth = torch.cat([y[:, None].float(), logits], 1)
    assert objective(network, x, truth).abs().max() < 1e-5
    loss, score, more = objective.measure(lambda out, y: (0.0, (out.argmax(1) == y).double().mean().item()))(
        logits, truth
    )
    assert (loss, more[Curve.AGREEMENT]) == (pytest.approx(0, abs=1e-5), 1.0)
    assert score == more[Curve.TEACHER_SCORE]


def test_matched_features_teach_the_backbone():
    x, y = half_known()
    network, teacher = small(), torch.randn(8, 5)
    truth = torch.cat([y[:, None].float(), network(x).detach(), teacher], 1)
    objective = distillation(labels=0.0, features=1.0, widths=(4, 5))
    optimiser = torch.optim.Adam([*network.parameters(), *objective.map.parameters()], 0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = objective(network, x, truth).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_distillation_of_targets_is_the_squared_error_to_the_teacher():
    x, network = torch.randn(6, 3, 4, 4), small(classes=2)
    y = torch.randn(6, 2)
    y[3:] = math.nan
    teacher = torch.randn(6, 2)
    objective = Distillation(
        "targets", 2, squared_error((1.0, 2.0)), temperature=1.0, labels=0.5, known=0.5, spread_K=(1.0, 2.0)
    )
    loss = objective(network, x, torch.cat([y, teacher], 1)).mean()
    out, spread = network(x), torch.tensor([1.0, 2.0])
    soft, hard = (((out - teacher) / spread) ** 2).mean(), (((out - y) / spread)[:3] ** 2).mean()
    torch.testing.assert_close(loss, 0.5 * soft + 0.5 * hard)
    measured = objective.measure(measure_values((1.0, 2.0)))(teacher, torch.cat([teacher, teacher], 1))
    assert measured[2][Curve.AGREEMENT] == pytest.approx(1)
