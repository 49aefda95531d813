from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_recall_fscore_support

from tasks.core.schema import HIGH, LOW, VALUE, Metric
from tasks.metrics import calibration, intervals
from tasks.metrics import classification as metrics
from tasks.metrics.regression import value_scores


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 300)
    logits = rng.normal(size=(300, 4)) + 1.5 * np.eye(4)[y]
    return torch.tensor(logits).softmax(1).numpy(), y, torch.tensor(logits)


def test_scores_are_scikit_learns(scored):
    p, y, _ = scored
    assert metrics.accuracy(p, y) == pytest.approx(accuracy_score(y, p.argmax(1)))
    assert metrics.macro_f1(p, y) == pytest.approx(f1_score(y, p.argmax(1), average="macro"))
    assert metrics.nll(p, y) == pytest.approx(log_loss(y, p))
    counts = metrics.confusion(p.argmax(1), y, 4)
    assert np.array_equal(counts, confusion_matrix(y, p.argmax(1)))
    theirs = precision_recall_fscore_support(y, p.argmax(1))
    for ours, other in zip(metrics.per_class(counts).values(), theirs, strict=True):
        np.testing.assert_allclose(ours, other)


def test_a_class_that_never_occurs_does_not_count(scored):
    p, y, _ = scored
    wider = np.concatenate([p, np.zeros((300, 1))], 1)
    assert metrics.macro_f1(wider, y) == metrics.macro_f1(p, y)


def test_calibration_error_by_hand():
    """Two answers at 0.9, one right; two at 0.6, both right: (2 * |0.5 - 0.9| + 2 * |1 - 0.6|) / 4."""
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert calibration.ece(p, np.array([0, 1, 0, 0]), 10) == pytest.approx(0.4)


def test_sure_answers_fall_in_the_last_bin():
    assert calibration.ece(np.array([[1.0, 0.0]]), np.array([0]), 10) == 0


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_scaling_of_the_logits(factor):
    rng = np.random.default_rng(1)
    logits = torch.tensor(rng.normal(size=(4000, 3)) * 1.5)
    y = torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    assert calibration.temperature(logits * factor, y) == pytest.approx(factor, rel=0.1)


@given(st.integers(0, 2**31 - 1), st.integers(2, 5), st.floats(0.2, 5), st.booleans())
@settings(max_examples=30)
def test_no_other_temperature_has_a_lower_loss(seed, classes, scale, weighted):
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(size=(60, classes)) * scale)
    y = torch.tensor(rng.integers(0, classes, 60))
    weight = torch.tensor(rng.uniform(0.1, 3, 60)) if weighted else None
    best = calibration.temperature(logits, y, weight)

    def loss(t):
        own = F.cross_entropy(logits / t, y, reduction="none")
        return (own if weight is None else own * weight).mean()

    others = np.geomspace(1 / 20, 20, 50)
    assert loss(best) <= min(loss(t) for t in others) + 1e-5


def test_temperature_stays_finite_when_everything_is_right():
    assert calibration.temperature(torch.eye(3) * 5, torch.arange(3)) >= 1 / 20


def test_a_calibrated_model_that_is_always_right_on_few_images_stays_calibrated():
    """40 right answers at 99%: the plain optimum would be sure of everything."""
    logits = torch.tensor([[math.log(99.0), 0.0]]).repeat(40, 1)
    y = torch.zeros(40, dtype=torch.long)
    assert (logits / calibration.temperature(logits, y)).softmax(1)[0, 1] < 1e-12
    sure = (logits / calibration.temperature(logits, y, cautious=True)).softmax(1)[0, 0]
    assert sure == pytest.approx(1 - 0.25 / 41, abs=1e-4)
    wrong = torch.cat([y, 1 - y])
    assert calibration.temperature(logits.repeat(2, 1), wrong, cautious=True) == pytest.approx(20, rel=1e-3)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        right = rng.random(120) < 0.8
        p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        low, high = intervals.interval(metrics.accuracy, p, np.zeros(120, int), 300, seed)
        hits += low <= 0.8 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_table_holds_every_metric_and_scaling_never_changes_accuracy(scored):
    p, y, _ = scored
    table = metrics.scores(p, p**2 / (p**2).sum(1, keepdims=True), y, 10, 100, 0)
    assert set(table) == set(Metric) - {Metric.MAP, Metric.R2, Metric.MAE, Metric.RMSE, Metric.AGREEMENT}
    assert table[Metric.ACCURACY][VALUE] == metrics.accuracy(p, y)
    assert table[Metric.NLL][VALUE] != table[Metric.NLL_UNCALIBRATED][VALUE]
    assert all(row[LOW] <= row[VALUE] <= row[HIGH] for name, row in table.items() if "ece" not in name)


def test_all_right_answers_are_no_certainty():
    assert intervals.hit_interval(1.0, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)  # Wilson's
    assert intervals.hit_interval(0.0, 7) == pytest.approx((0.0, 0.3543), abs=1e-4)
    p = np.tile([0.9, 0.1], (20, 1))
    table = metrics.scores(p, p, np.zeros(20, int), 10, 100, 0)
    assert table[Metric.ACCURACY][LOW] == pytest.approx(0.8389, abs=1e-4)


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_r2_knows_no_unit_and_no_resample_makes_it_absurd(unit):
    y = unit * np.random.default_rng(0).normal(3.0, 0.3, (200, 1))
    scored = value_scores(np.full_like(y, y.mean()), y, [0.3 * unit], 100, 0)
    assert scored[Metric.R2][VALUE] == pytest.approx(0.0, abs=1e-9)
    rare = np.zeros((60, 1))
    rare[:2] = unit
    scored = value_scores(rare + 0.05 * unit, rare, [0.2 * unit], 200, 0)
    assert scored[Metric.R2][LOW] > 0.9
    alone = value_scores(np.array([[3.1]]) * unit, np.array([[3.0]]) * unit, [0.2 * unit], 100, 0)
    assert alone[Metric.R2][VALUE] == pytest.approx(0.75)
