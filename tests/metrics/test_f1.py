from __future__ import annotations

import numpy as np
import pytest

from tasks.metrics.classification import macro_f1
from tasks.metrics.f1 import f1_shares, mistaken, rarest
from tasks.metrics.multilabel import label_macro_f1


def one_hot(y_N: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[y_N]


def test_the_mean_over_images_is_macro_f1():
    random = np.random.default_rng(0)
    y_N, predicted_N = random.integers(0, 4, 60), random.integers(0, 5, 60)
    expected = macro_f1(one_hot(predicted_N, 6), y_N)
    assert f1_shares(one_hot(predicted_N, 6), one_hot(y_N, 6)).mean() == pytest.approx(expected)
    predicted_NC, true_NC = random.random((50, 7)) < 0.3, random.random((50, 7)) < 0.2
    expected = label_macro_f1(predicted_NC, true_NC)
    assert f1_shares(predicted_NC.astype(float), true_NC.astype(float)).mean() == pytest.approx(expected)


def test_the_variance_over_images_is_that_of_macro_f1():
    """Compared with the spread of macro F1 over resamples of many images, which the delta method approximates."""
    random = np.random.default_rng(0)
    y_N = random.choice(3, 2000, p=[0.6, 0.3, 0.1])
    predicted_N = np.where(random.random(2000) < 0.8, y_N, random.integers(0, 3, 2000))
    draws = (random.integers(0, 2000, 2000) for _ in range(400))
    spread = np.std([macro_f1(one_hot(predicted_N[draw], 3), y_N[draw]) for draw in draws])
    shares_N = f1_shares(one_hot(predicted_N, 3), one_hot(y_N, 3))
    assert shares_N.std() / 2000**0.5 == pytest.approx(spread, rel=0.1)


def test_the_rarest_class_occurs_and_a_mistake_predicts_another():
    right_C = rarest(one_hot(np.array([0, 0, 1, 2, 2]), 4))
    assert right_C.tolist() == [0, 1, 0, 0]
    assert mistaken(right_C, exclusive=True).tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])
    assert mistaken(right_C, exclusive=False).tolist() == [0, 0, 0, 0]
