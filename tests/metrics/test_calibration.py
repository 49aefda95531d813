from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.metrics import calibration


def test_calibration_error_by_hand():
    """Two predictions at 0.9, one right, and two at 0.6, both right: (2 * |0.5 - 0.9| + 2 * |1 - 0.6|) / 4."""
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert calibration.ece(p.max(1), np.array([True, False, True, True]), 10) == pytest.approx(0.4)


def test_confident_predictions_are_in_the_last_bin():
    assert calibration.ece(np.array([1.0]), np.array([True]), 10) == 0


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
        loss_N = F.cross_entropy(logits / t, y, reduction="none")
        return (loss_N if weight is None else loss_N * weight).mean()

    others = np.geomspace(1 / 20, 20, 50)
    assert loss(best) <= min(loss(t) for t in others) + 1e-5


def test_temperature_stays_finite_when_everything_is_right():
    assert calibration.temperature(torch.eye(3) * 5, torch.arange(3)) >= 1 / 20


def test_a_calibrated_model_that_is_always_right_on_few_images_stays_calibrated():
    """40 right predictions at 99%: the plain optimum would be complete certainty."""
    logits = torch.tensor([[math.log(99.0), 0.0]]).repeat(40, 1)
    y = torch.zeros(40, dtype=torch.long)
    assert (logits / calibration.temperature(logits, y)).softmax(1)[0, 1] < 1e-12
    sure = (logits / calibration.temperature(logits, y, cautious=True)).softmax(1)[0, 0]
    assert sure == pytest.approx(1 - 0.25 / 41, abs=1e-4)
    wrong = torch.cat([y, 1 - y])
    assert calibration.temperature(logits.repeat(2, 1), wrong, cautious=True) == pytest.approx(20, rel=1e-3)
