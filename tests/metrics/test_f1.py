from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tasks.metrics.classification import macro_f1
from tasks.metrics.f1 import f1_shares, label_memberships, memberships, rarest_and_mistaken
from tasks.metrics.intervals import f1_interval
from tasks.metrics.multilabel import label_macro_f1


def test_the_mean_over_images_is_macro_f1():
    random = np.random.default_rng(0)
    y_N, predicted_N = random.integers(0, 4, 60), random.integers(0, 5, 60)
    expected = macro_f1(predicted_N, y_N, 6)
    assert f1_shares(memberships(predicted_N, 6), memberships(y_N, 6)).mean() == pytest.approx(expected)
    predicted_NC, true_NC = random.random((50, 7)) < 0.3, random.random((50, 7)) < 0.2
    expected = label_macro_f1(predicted_NC, true_NC)
    assert f1_shares(label_memberships(predicted_NC), label_memberships(true_NC)).mean() == pytest.approx(expected)


def test_the_variance_over_images_is_that_of_macro_f1():
    """Compared with the spread of macro F1 over resamples of many images, which the delta method approximates."""
    random = np.random.default_rng(0)
    y_N = random.choice(3, 2000, p=[0.6, 0.3, 0.1])
    predicted_N = np.where(random.random(2000) < 0.8, y_N, random.integers(0, 3, 2000))
    draws = (random.integers(0, 2000, 2000) for _ in range(400))
    spread = np.std([macro_f1(predicted_N[draw], y_N[draw], 3) for draw in draws])
    shares_N = f1_shares(memberships(predicted_N, 3), memberships(y_N, 3))
    assert shares_N.std() / 2000**0.5 == pytest.approx(spread, rel=0.1)


def test_the_rarest_class_occurs_and_a_mistake_predicts_another_that_occurs():
    true_NC = memberships(np.array([0, 0, 1, 2, 2]), 4)
    right_C, wrong_C = rarest_and_mistaken(true_NC, exclusive=True)
    assert (right_C.tolist(), wrong_C.tolist()) == ([0, 1, 0, 0], [0.5, 0, 0.5, 0])
    assert rarest_and_mistaken(true_NC, exclusive=False)[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("absent", [1, 90])
def test_classes_that_occur_nowhere_change_no_bounds(absent):
    random = np.random.default_rng(0)
    y_N = random.integers(0, 10, 500)
    predicted_N = np.where(random.random(500) < 0.9, y_N, random.integers(0, 10, 500))
    bounds = [
        f1_interval(memberships(predicted_N, classes), memberships(y_N, classes), exclusive=True)
        for classes in (10, 10 + absent)
    ]
    assert bounds[1] == pytest.approx(bounds[0])


def test_many_images_and_classes_take_little_memory():
    y_N = np.random.default_rng(0).integers(0, 1000, 100_000)
    tracemalloc.start()
    f1_interval(memberships(y_N, 1000), memberships(y_N, 1000), exclusive=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20
