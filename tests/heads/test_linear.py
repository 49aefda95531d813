from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from tasks.heads.linear import best, fit_probes, fit_ridge, linear
from tasks.heads.logistic import LogisticProblem, scaling_of
from tasks.heads.rows import FeatureRows
from tasks.training.class_balance import balance_weights, log_prior
from tasks.training.measures import measure_balanced, measure_classes, measure_labels


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    x = rng.normal(size=(150, 6)) * [1, 10, 0.1, 1, 1, 1] + np.eye(3)[y] @ rng.normal(size=(3, 6)) * 1.5
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def test_it_is_the_logistic_regression_that_scikit_learn_finds(data):
    x, y = data
    strength = 0.01
    (probe,) = fit_probes((x, y, torch.ones(len(x))), (x, y), 3, [strength])
    scale = StandardScaler().fit(x.numpy())
    theirs = LogisticRegression(C=1 / (strength * len(x)), tol=1e-10, max_iter=5000).fit(scale.transform(x.numpy()), y)
    ours = probe.head(x).softmax(1).detach().numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(scale.transform(x.numpy())), atol=2e-4)


@pytest.mark.parametrize("strength", [10.0, 0.1, 1e-3])
def test_it_ends_near_the_minimum(data, strength):
    """As scikit-learn finds it, in the objective that is minimized; also with a frequent class."""
    x, y = data
    y = torch.where(torch.arange(len(y)) % 3 > 0, 0, y)
    (probe,) = fit_probes((x, y, torch.ones(len(x))), (x, y), 3, [strength])
    z = torch.from_numpy(StandardScaler().fit_transform(x.double().numpy()))
    theirs = LogisticRegression(C=1 / (strength * len(x)), tol=1e-12, max_iter=9999).fit(z.numpy(), y.numpy())
    scale = StandardScaler().fit(x.double().numpy())
    weight = probe.head.weight.detach().double() * torch.from_numpy(scale.scale_)
    bias = probe.head.bias.detach().double() + probe.head.weight.detach().double() @ torch.from_numpy(scale.mean_)

    def objective(weight_CD, bias_C):
        loss = torch.nn.functional.cross_entropy(z @ weight_CD.T + bias_C, y)
        return (loss + strength / 2 * weight_CD.square().sum()).item()

    minimum = objective(torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_))
    assert objective(weight, bias) == pytest.approx(minimum, abs=2e-7)


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_the_gradient_is_that_of_the_loss(data, kind):
    x, y = data
    y = y if kind == "classes" else torch.nn.functional.one_hot(y, 3).float()
    weight = torch.linspace(1, 2, len(x), dtype=torch.float64)
    offset = torch.tensor([0.1, -0.2, 0.3])
    problem = LogisticProblem(x, y, weight, scaling_of(x), offset, torch.device("cpu"))
    parameters = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    z = (x.double() - problem.scaling.mean_D) / problem.scaling.deviation_D
    logits = z @ parameters[:, :-1].T + parameters[:, -1] + offset
    losses = {
        "classes": lambda: torch.nn.functional.cross_entropy(logits, y, reduction="none"),
        "labels": lambda: torch.nn.functional.binary_cross_entropy_with_logits(
            logits, y.double(), reduction="none"
        ).mean(1),
    }
    expected = (losses[kind]() * weight).sum() / weight.sum()
    expected.backward()
    loss, gradient = problem.loss_and_gradient(parameters.detach())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(gradient, parameters.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["classes", "labels", "values"])
def test_the_bits_depend_neither_on_threads_nor_on_where_the_rows_are(kind, monkeypatch):
    """Blocks of 64 rows, computed by one to three threads, of a matrix in one part or in several."""
    monkeypatch.setattr("tasks.heads.rows.BLOCK", 64)
    x, y_N = torch.randn(500, 30), torch.randint(3, (500,))
    y = {"classes": y_N, "labels": torch.nn.functional.one_hot(y_N, 3).float(), "values": torch.randn(500, 2)}[kind]
    rows = np.flatnonzero(np.arange(500) % 3)
    places = {"whole": x[rows], "parts": FeatureRows(list(x.split([100, 1, 399])), rows)}
    weights, heads = torch.ones(len(rows)), set()
    threads = torch.get_num_threads()
    for count, place in ((1, "whole"), (2, "whole"), (3, "whole"), (1, "parts"), (3, "parts")):
        torch.set_num_threads(count)
        train, validation = (places[place], y[rows], weights), (x[::3], y[::3])
        if kind == "values":
            probes = fit_ridge(train, validation, [0.1, 1e-3])
        else:
            measure = measure_labels if kind == "labels" else measure_classes
            probes = fit_probes(train, validation, 3, [0.1, 1e-3], measure=measure)
        heads.add(b"".join(probe.head.weight.detach().numpy().tobytes() for probe in probes))
    torch.set_num_threads(threads)
    assert len(heads) == 1


def test_of_many_rows_a_sample_chooses_the_penalty_and_all_are_fitted(data, monkeypatch, capsys):
    x, y = data
    x, y = x.repeat(4, 1) + 0.3 * torch.randn(600, 6), y.repeat(4)
    train, validation, strengths = (x[:500], y[:500], torch.ones(500)), (x[500:], y[500:]), [1.0, 0.1, 0.01]
    on_all = fit_probes(train, validation, 3, strengths)
    monkeypatch.setattr("tasks.heads.linear.SAMPLE", 300)
    probes = fit_probes(train, validation, 3, strengths)
    assert "300 of 500 rows" in capsys.readouterr().out
    (chosen,) = probes
    (same,) = (probe for probe in on_all if probe.setting == chosen.setting)
    torch.testing.assert_close(chosen.head.weight, same.head.weight, atol=5e-3, rtol=0)
    others = [fit_probes(tuple(part[::2] for part in train), validation, 3, [chosen.setting])[0]]
    assert (others[0].head.weight - same.head.weight).abs().max() > 0.02  # what a part of the rows gives


def test_rows_count_by_their_weights(data):
    x, y = data
    twice = fit_probes((torch.cat([x, x[:50]]), torch.cat([y, y[:50]]), torch.ones(200)), (x, y), 3, [0.1])[0]
    weights = torch.ones(150)
    weights[:50] = 2
    weighted = fit_probes((x, y, weights), (x, y), 3, [0.1])[0]
    assert (twice.head.weight - weighted.head.weight).abs().max() < 0.05


def test_the_strength_is_chosen_on_validation(data):
    """On noise labels a strong penalty is best; on separable labels, the weakest."""
    x, y = data
    noise = torch.randint(0, 3, y.shape, generator=torch.Generator().manual_seed(0))
    strengths = [1e-4, 1e-2, 1.0, 100.0]
    chosen = best(fit_probes((x[:60], noise[:60], torch.ones(60)), (x[60:], noise[60:]), 3, strengths))
    assert chosen.setting >= 1
    shift = torch.eye(3)[y] * 20
    clear = torch.cat([x, shift], 1)
    assert best(fit_probes((clear[:60], y[:60], torch.ones(60)), (clear[60:], y[60:]), 3, strengths)).setting == 1e-4


def test_a_constant_feature_does_no_harm(data):
    x, y = data
    flat = torch.cat([x, torch.full((150, 1), 3.0)], 1)
    probe = fit_probes((flat, y, torch.ones(150)), (flat, y), 3, [0.01])[0]
    assert torch.isfinite(probe.head.weight).all()
    assert probe.score > 0.7


def test_ridge_is_scikit_learns_and_counts_rows_by_their_weights(data):
    x, _ = data
    target = x[:, :1] * 0.3 + x[:, 1:2] * 0.05 + torch.randn(len(x), 1) * 0.2
    y = torch.cat([target, -2 * target], 1)
    weight = torch.linspace(0.5, 2, len(x))
    (probe,) = fit_ridge((x, y, weight), (x, y), [0.1])
    z = StandardScaler().fit_transform(x.numpy())
    theirs = Ridge(alpha=0.1 * float(weight.sum())).fit(z, y.numpy(), sample_weight=weight.numpy())
    np.testing.assert_allclose(probe.head(x).detach(), theirs.predict(z), atol=2e-3)
    assert probe.score == pytest.approx(r2_score(y, theirs.predict(z)), abs=1e-3)


def test_a_head_initialized_from_another_stays_as_close_to_it_as_the_penalty_requires(data):
    x, y = data
    start = linear(torch.randn(3, 6), torch.randn(3))
    near, far = fit_probes((x, y, torch.ones(len(x))), (x, y), 3, [1e6, 1e-4], start)
    assert (near.head.weight - start.weight).abs().max() < 1e-3
    free = fit_probes((x, y, torch.ones(len(x))), (x, y), 3, [1e-4])[0]
    assert far.loss == pytest.approx(free.loss, abs=1e-3)


@pytest.mark.parametrize("how", ["weights", "logits"])
def test_balancing_classes_increases_the_recall_of_a_rare_class(data, how):
    x, y = data
    keep = (y != 0) | (torch.arange(len(y)) % 8 == 0)
    rare, y_rare, ones = x[keep], y[keep], torch.ones(int(keep.sum()))
    plain = fit_probes((rare, y_rare, ones), (x, y), 3, [0.01])[0]
    if how == "weights":
        fair = fit_probes((rare, y_rare, balance_weights(ones, y_rare, 3)), (x, y), 3, [0.01])[0]
    else:
        fair = fit_probes((rare, y_rare, ones), (x, y), 3, [0.01], log_prior_C=log_prior(ones, y_rare, 3))[0]
    recall = [(p.head(x).argmax(1)[y == 0] == 0).float().mean().item() for p in (plain, fair)]
    assert recall[1] > recall[0] + 0.1
    assert fair.score > plain.score


def test_balancing_equalizes_class_weights_and_keeps_the_total_weight():
    y, weight = torch.tensor([0, 0, 0, 2]), torch.tensor([1.0, 2.0, 1.0, 1.0])
    weights = balance_weights(weight, y, 3)
    assert weights[:3].sum().item() == pytest.approx(weights[3].item())
    assert weights.sum().item() == pytest.approx(5)


def test_balanced_models_are_chosen_as_if_classes_were_equal():
    logits, y = torch.randn(6, 2), torch.tensor([0, 0, 0, 0, 1, 1])
    losses = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    loss, accuracy = measure_balanced(logits, y)
    assert loss == pytest.approx(((losses[:4].mean() + losses[4:].mean()) / 2).item(), rel=1e-5)
    assert accuracy == (logits.argmax(1) == y).float().mean().item()
