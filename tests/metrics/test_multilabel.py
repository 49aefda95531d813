"""Multi-label thresholds and scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from tasks.core.schema import Metric
from tasks.metrics.average_precision import mean_average_precision
from tasks.metrics.multilabel import exact, label_macro_f1, label_scores, thresholds_for
from tasks.training.losses.binary_cross_entropy import binary_cross_entropy
from tasks.training.measures import measure_labels
from tasks.training.types import Batch


def answers(seed=0, count=200, labels=3, skill=1.5):
    rng = np.random.default_rng(seed)
    y = rng.random((count, labels)) < 0.4
    return 1 / (1 + np.exp(-skill * (2 * y - 1) - rng.normal(0, 1, y.shape))), y.astype(float)


@given(st.integers(0, 1000))
def test_no_threshold_has_a_better_f1_on_validation(seed):
    probability, y = answers(seed, 30, 2)
    thresholds = thresholds_for(probability, y)
    for place in range(2):
        true, sure = y[:, place] > 0.5, probability[:, place]
        predicted_TN = sure >= np.array([*np.linspace(0, 1, 101), thresholds[place]])[:, None]
        f1_T = 2 * (predicted_TN & true).sum(1) / np.maximum(predicted_TN.sum(1) + true.sum(), 1)
        assert f1_T[-1] >= f1_T.max() - 1e-9


def test_a_label_that_validation_does_not_have_is_predicted_from_a_half():
    probability, y = answers()
    y[:, 1] = 0
    assert thresholds_for(probability, y)[1] == 0.5


def test_scores_are_scikit_learns():
    probability, y = answers()
    predicted_NC = probability >= 0.5
    assert label_macro_f1(predicted_NC, y) == pytest.approx(f1_score(y, predicted_NC, average="macro"))
    assert mean_average_precision(probability, y) == pytest.approx(average_precision_score(y, probability))
    assert exact(predicted_NC, y) == (predicted_NC == y).all(1).mean()
    table = label_scores(probability, y, np.full(3, 0.5))
    assert set(table) == {"accuracy", "macro_f1", "map", "nll"}
    assert all(row["low"] <= row["value"] <= row["high"] for name, row in table.items() if name != Metric.MAP)


def test_the_loss_is_torchs_and_smoothing_draws_to_a_half():
    logits, y = torch.randn(6, 3), torch.randint(0, 2, (6, 3)).float()
    loss = binary_cross_entropy()(lambda x: x, Batch(logits, y))
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(1))
    smooth = binary_cross_entropy(0.2)(lambda x: x, Batch(logits, y))
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * y + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(smooth, expected)
    assert measure_labels(logits, y)[1] == pytest.approx(f1_score(y, logits >= 0, average="macro", zero_division=0))
    perfect = torch.tensor([[9.0, -9.0, -9.0], [-9.0, 9.0, -9.0]])  # no image has the third label
    assert measure_labels(perfect, (perfect > 0).float())[1] == 1.0
