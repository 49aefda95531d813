from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tasks.core.schema import HIGH, LOW, VALUE, Metric
from tasks.metrics import classification, intervals
from tasks.metrics.answers import predictions_of
from tasks.metrics.f1 import memberships

TRIALS = 400
OF_OTHERS = {Metric.MAP, Metric.R2, Metric.MAE, Metric.RMSE, Metric.SCALED_MAE, Metric.AGREEMENT}


def covered(draw: Callable[[np.random.Generator], tuple[float, float]], truth: float) -> float:
    """Returns the share of intervals, one a draw, that contain the truth."""
    random = np.random.default_rng(0)
    bounds = [draw(random) for _ in range(TRIALS)]
    return float(np.mean([low <= truth <= high for low, high in bounds]))


def scores(raw_NC: np.ndarray, scaled_NC: np.ndarray, y_N: np.ndarray) -> dict[str, dict[str, float]]:
    raw, scaled = (predictions_of([probability_NC], y_N) for probability_NC in (raw_NC, scaled_NC))
    return classification.scores(raw, scaled, raw_NC.shape[1], 10)


@pytest.mark.parametrize("images", [60, 300])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.95, 0.05), (0.9, 0.07, 0.03)])
@pytest.mark.parametrize("right", [0.8, 0.98])
def test_the_interval_of_macro_f1_covers_with_rare_classes_and_few_errors(images, shares, right):
    """A percentile bootstrap covers 67 to 97% of these."""
    classes = len(shares)

    def draw(random: np.random.Generator) -> tuple[float, float]:
        y_N = np.append(np.arange(classes), random.choice(classes, images - classes, p=shares))  # each class occurs
        other_N = (y_N + random.integers(1, classes, images)) % classes
        predicted_N = np.where(random.random(images) < right, y_N, other_N)
        return intervals.f1_interval(memberships(predicted_N, classes), memberships(y_N, classes), exclusive=True)

    occurs_C = (1 + (images - classes) * np.array(shares)) / images
    joint_CC = (1 - right) / (classes - 1) * np.repeat(occurs_C[:, None], classes, 1)
    np.fill_diagonal(joint_CC, right * occurs_C)
    truth = (2 * np.diag(joint_CC) / (joint_CC.sum(0) + joint_CC.sum(1))).mean()
    assert covered(draw, truth) >= 0.93


@pytest.mark.parametrize("images", [60, 300])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda random, count: random.exponential(size=count), 1.0),
        (lambda random, count: np.abs(random.standard_t(3, count)), 1.1027),
        (lambda random, count: random.exponential(size=count) * np.where(random.random(count) < 0.02, 5, 1), 1.08),
    ],
)
def test_the_interval_of_a_mean_covers_with_rare_large_values(images, draw, truth):
    assert covered(lambda random: intervals.mean_interval(draw(random, images)), truth) >= 0.93


def test_nll_has_an_interval_with_enough_wrong_images_and_ece_has_none(scored):
    p, y, _ = scored
    table = scores(p, p, y)
    assert LOW in table[Metric.NLL]
    assert LOW not in table[Metric.ECE]
    right = p.argmax(1) == y
    assert LOW not in scores(p[right], p[right], y[right])[Metric.NLL]


def test_the_table_holds_every_metric_and_scaling_never_changes_accuracy(scored):
    p, y, _ = scored
    table = scores(p, p**2 / (p**2).sum(1, keepdims=True), y)
    assert set(table) == set(Metric) - OF_OTHERS
    assert table[Metric.ACCURACY][VALUE] == (p.argmax(1) == y).mean()
    assert table[Metric.NLL][VALUE] != table[Metric.NLL_UNCALIBRATED][VALUE]
    assert all(row[LOW] <= row[VALUE] <= row[HIGH] for row in table.values() if LOW in row)


def test_an_interval_stays_wide_when_few_predictions_are_all_correct():
    assert intervals.hit_interval(1.0, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)  # Wilson's
    assert intervals.hit_interval(0.0, 7) == pytest.approx((0.0, 0.3543), abs=1e-4)
    p = np.tile([0.9, 0.1], (20, 1))
    table = scores(p, p, np.zeros(20, int))
    assert table[Metric.ACCURACY][LOW] == pytest.approx(0.8389, abs=1e-4)
    assert table[Metric.MACRO_F1][LOW] < 0.95


def test_a_single_image_has_an_interval_too():
    assert intervals.mean_interval(np.array([0.3])) == (0.3, 0.3)
    one = memberships(np.array([0]), 2)
    assert intervals.f1_interval(one, one, exclusive=True)[1] == 1.0
