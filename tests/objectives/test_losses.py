"""The objectives beside labels, each against its formula or against what it is for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tasks.core.schema import Balance, Curve
from tasks.objectives.losses.adversarial import Attack, Growing, adversarial, divergence, trades
from tasks.objectives.losses.coral import coral, covariance
from tasks.objectives.losses.dann import Dann
from tasks.objectives.losses.distillation import Distillation
from tasks.objectives.losses.fixmatch import FixMatch
from tasks.objectives.losses.mcc import confusion, mcc
from tasks.objectives.losses.pseudo_labels import accept, audit
from tasks.objectives.unsupervised_validators import information, neighbourhood
from tasks.scorer.scorer import Network
from tasks.training.calibrated_loss import refined
from tasks.training.goal import Goal
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.losses.partial_truth import as_rows, is_known, without
from tasks.training.losses.squared_error import squared_error
from tasks.training.measures import measure_classes, measure_values

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def small(classes=3, width=4, side=4):
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, width)), nn.Linear(width, classes))


def half_known(rows=8, classes=3):
    y = torch.arange(rows) % classes
    y[rows // 2 :] = -1
    return torch.randn(rows, 3, 4, 4), y


@pytest.mark.parametrize("y", [torch.tensor([1, 0, 2]), torch.tensor([[1.0, 2.0], [0.0, 1.0]])])
def test_what_is_not_known_is_told_from_what_is(y):
    assert is_known(y).all()
    assert not is_known(without(y)).any()


@given(st.lists(st.booleans(), min_size=1, max_size=30))
@settings(max_examples=50)
def test_rows_of_some_have_the_mean_of_those_alone(known):
    at = torch.tensor(known)
    loss = torch.rand(int(at.sum()))
    rows = as_rows(loss, at)
    assert len(rows) == len(known)
    assert rows.mean().item() == pytest.approx(loss.mean().item() if len(loss) else 0.0, abs=1e-6)


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


def test_coral_is_the_distance_of_the_domains_covariances():
    (x, y), network = half_known(), small()
    feature = network.backbone(x)
    torch.testing.assert_close(covariance(feature[:4]), torch.cov(feature[:4].T))
    loss = coral(cross_entropy(), 2.0)(network, x, y).mean()
    distance = (torch.cov(feature[:4].T) - torch.cov(feature[4:].T)).square().sum() / (4 * 16)
    torch.testing.assert_close(loss, F.cross_entropy(network(x)[:4], y[:4]) + 2 * distance)


def test_dann_teaches_the_critic_to_tell_and_the_backbone_to_hide():
    (x, y), network = half_known(), small()
    dann = Dann(lambda network, x, y: torch.zeros(len(y)), 4, 1.0)
    dann.begin(9, 10)
    assert dann.reversal == pytest.approx(1, abs=1e-3)
    loss = dann(network, x, y).mean()
    own = torch.autograd.grad(loss, [network.backbone[1].weight, dann.critic[0].weight])
    told = dann.critic(network.backbone(x))[:, 0]
    wanted = F.binary_cross_entropy_with_logits(told, (y >= 0).float())
    plain = torch.autograd.grad(wanted, [network.backbone[1].weight, dann.critic[0].weight])
    torch.testing.assert_close(own[1], plain[1])
    torch.testing.assert_close(own[0], -dann.reversal * plain[0])
    dann.begin(0, 10)
    assert 0 < dann.reversal < 0.3


def test_mcc_is_lowest_for_sure_answers_and_counts_the_target_only():
    sure, unsure = 30 * F.one_hot(torch.arange(6) % 3, 3).float(), torch.zeros(6, 3)
    assert confusion(sure) < 1e-3 < confusion(unsure)
    assert confusion(unsure).item() == pytest.approx(2 / 3)
    (x, y), network = half_known(), small()
    loss = mcc(cross_entropy(), 1.0)(network, x, y).mean()
    logits = network(x)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:4], y[:4]) + confusion(logits[4:]))


class Fixed(nn.Module):
    """A network whose logits are the first numbers of its input."""

    def forward(self, x):
        return x.flatten(1)[:, :3]


def test_fixmatch_learns_confident_answers_from_the_strong_view():
    x = torch.zeros(3, 6, 2, 2)
    x[1, 0, 0, 0] = 20.0  # sure of class 0 under the weak view
    x[1, 3, 0, 1] = 1.0  # the strong view says class 1
    y = torch.tensor([2, -1, -1])
    loss = FixMatch(cross_entropy(), 3, 0.9, weight=2.0)(Fixed(), x, y).mean()
    strong = F.cross_entropy(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0]))
    torch.testing.assert_close(loss, math.log(3) + 2.0 * strong / 2)  # of two unlabelled ones one is trusted


def test_a_temperature_makes_it_less_sure():
    x, y = torch.zeros(2, 6, 2, 2), torch.tensor([0, -1])
    x[1, 0, 0, 0] = 5.0
    objective = FixMatch(cross_entropy(), 3, 0.9, weight=1.0)
    sure = objective(Fixed(), x, y)
    objective.temperature = 5.0
    assert objective(Fixed(), x, y)[1] == 0 < sure[1]


def test_flexmatch_lowers_the_threshold_of_what_is_learned_badly():
    objective = FixMatch(cross_entropy(), 3, 0.9, weight=1.0)
    p = torch.tensor([[0.95, 0.03, 0.02]] * 8 + [[0.02, 0.96, 0.02]] * 4 + [[0.2, 0.2, 0.6]])
    objective.adapt(p)
    first, second, third = objective.threshold_C.tolist()
    assert first == pytest.approx(0.9)
    assert second == pytest.approx(0.9 * 0.5 / 1.5)
    assert third == 0


def test_remixmatch_tilts_answers_towards_the_shares_of_the_labels():
    objective = FixMatch(cross_entropy(), 3, 0.9, weight=1.0)
    objective.temperature = 2.0
    logits, prior = torch.randn(5000, 3) + torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.2, 0.3, 0.5])
    p = (logits / 2.0).softmax(1)
    objective.align(logits, prior)
    torch.testing.assert_close(objective.answers(logits), F.normalize(p * prior / p.mean(0), p=1, dim=1))
    assert (objective.answers(logits).mean(0) - prior).abs().max() < 0.05 < (p.mean(0) - prior).abs().max()


@pytest.mark.parametrize("balance", [Balance.NONE, Balance.WEIGHTS])
def test_the_refined_loss_prefers_fewer_mistakes_and_minds_no_sureness(balance):
    truth, measure = (torch.arange(40) % 4 == 0).long(), Goal(("a", "b")).measure(balance)
    few, many = (4.0 * F.one_hot(truth, 2) + torch.randn(40, 2) for _ in range(2))
    few[:1], many[:4] = few[:1].flip(1), many[:4].flip(1)
    assert measure(few, truth)[0] < measure(many, truth)[0]
    assert measure(9.0 * few, truth)[0] == pytest.approx(measure(few, truth)[0], rel=1e-3)
    assert measure_classes(9.0 * few, truth)[0] > 2 * measure(few, truth)[0]


def test_where_all_answers_are_right_the_surer_ones_are_better():
    truth = torch.arange(40) % 2
    sure, surer = (factor * F.one_hot(truth, 2).float() for factor in (4.0, 8.0))
    assert refined(measure_classes)(surer, truth)[0] < refined(measure_classes)(sure, truth)[0]


@given(st.integers(1, 40), st.floats(0, 0.99), st.integers(0, 5), st.integers(0, 2**31 - 1))
@settings(max_examples=60)
def test_quotas_keep_the_surest_of_each_class(rows, threshold, quota, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(3), rows)
    taken = accept(p, threshold, quota)
    assert (p.max(1)[taken] >= threshold).all()
    for label in range(3):
        own = (p.argmax(1) == label) & (p.max(1) >= threshold)
        kept = own & taken
        assert kept.sum() == (min(quota, own.sum()) if quota else own.sum())
        if kept.any() and (own & ~kept).any():
            assert p.max(1)[kept].min() >= p.max(1)[own & ~kept].max()


def test_the_audit_counts_trusted_answers_only():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.05, 0.95]])
    found = audit(p, np.array([0, 1, 0, 1]), 0.75)
    assert (found.accepted, found.precision) == (3, pytest.approx(2 / 3))
    assert audit(p, np.array([0, 1, 0, 1]), [0.95, 0.9]).accepted == 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 5])
def test_attacks_stay_within_their_budget_and_do_harm(norm, steps):
    network = small()
    pixels = torch.rand(16, 3, 4, 4)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    x, y = (pixels - mean) / std, torch.arange(16) % 3
    radius = 0.1 if norm == "linf" else 0.5
    loss = cross_entropy()
    changed = Attack(norm, radius, steps, MEAN, STD)(network, x, lambda output: loss(lambda _: output, x, y))
    change = (changed * std + mean) - pixels
    length = change.flatten(1).abs().amax(1) if norm == "linf" else change.flatten(1).norm(dim=1)
    assert (length <= radius + 1e-5).all()
    assert ((changed * std + mean) > -1e-5).all()
    assert ((changed * std + mean) < 1 + 1e-5).all()
    assert loss(network, changed, y).mean() > loss(network, x, y).mean()


def test_a_radius_that_grows_ends_as_it_was_given():
    network, pixels, y = small(), torch.rand(8, 3, 4, 4), torch.arange(8) % 3
    growing, loss = Growing(Attack("linf", 0.3, 1, (0,) * 3, (1,) * 3, step=0.4), epochs=2), cross_entropy()
    lengths = []
    for epoch in range(4):
        growing.begin(epoch)
        changed = growing(network, pixels, lambda output: loss(lambda _: output, pixels, y))
        lengths.append((changed - pixels).abs().max().item())
    assert lengths == pytest.approx([0.1, 0.2, 0.3, 0.3], abs=0.02)
    assert (growing.now.radius, growing.now.step) == (0.3, 0.4)


def test_an_attack_that_does_not_grow_is_whole_from_the_start():
    growing = Growing(Attack("linf", 0.3, 1, MEAN, STD), epochs=0)
    growing.begin(0)
    assert growing.now.radius == 0.3


def test_an_attack_moves_no_statistics_and_leaves_no_gradients():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x, y = torch.randn(4, 3, 4, 4), torch.tensor([0, 1, 2, 0])
    Attack("linf", 0.1, 3, MEAN, STD)(network, x, lambda output: F.cross_entropy(output, y, reduction="none"))
    assert network.training
    assert network[0].training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_adversarial_and_trades_losses_are_their_formulas():
    network, (x, _) = small(), half_known()
    y = torch.arange(8) % 3
    attack = Attack("linf", 0.1, 2, MEAN, STD)
    torch.manual_seed(3)
    loss = adversarial(cross_entropy(), attack)(network, x, y)
    torch.manual_seed(3)
    changed = attack(network, x, lambda output: F.cross_entropy(output, y, reduction="none"))
    torch.testing.assert_close(loss, F.cross_entropy(network(changed), y, reduction="none"))
    torch.manual_seed(4)
    loss = trades(cross_entropy(), attack, 6.0)(network, x, y)
    torch.manual_seed(4)
    clean = network(x)
    changed = attack(network, x, lambda output: divergence(output, clean.detach()))
    wanted = F.cross_entropy(clean, y, reduction="none") + 6 * divergence(network(changed), clean)
    torch.testing.assert_close(loss, wanted)


def test_validators_prefer_sure_answers_that_use_all_classes():
    labels = torch.arange(30) % 3
    good, torn, one = 8 * F.one_hot(labels, 3).float(), torch.randn(30, 3) * 0.1, 8 * F.one_hot(labels * 0, 3).float()
    assert information(good) == pytest.approx(math.log(3), abs=0.05)
    assert information(good) > information(torn)
    assert information(good) > information(one)
    mixed = good.clone()
    mixed[::2] = torch.randn(15, 3)
    assert neighbourhood(good) > neighbourhood(mixed)


def test_one_image_has_no_neighbourhood():
    assert neighbourhood(torch.randn(1, 3)) == 0
