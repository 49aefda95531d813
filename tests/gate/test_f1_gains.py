from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from tasks.gate.f1_gains import PairedPredictions, f1_bounds
from tasks.metrics.f1 import memberships


def test_bounds_mirror_when_the_models_swap():
    random = np.random.default_rng(1)
    tables = [memberships(random.integers(0, 3, 100), 3) for _ in range(3)]
    pair = PairedPredictions(*tables)
    low, high = f1_bounds(pair, 0.05, exclusive=True)
    assert f1_bounds(pair.swapped(), 0.05, exclusive=True) == pytest.approx((-high, -low))
    assert low < pair.gains().mean() < high


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.9, 0.07, 0.03)])
@pytest.mark.parametrize("exclusive", [True, False])
def test_a_model_that_loses_the_margin_in_the_rarest_class_rarely_passes(shares, exclusive):
    """The models differ only by these losses; without one more loss, up to 43% of the candidates pass."""
    random, trials, margin, classes = np.random.default_rng(0), 600, 0.05, len(shares)
    loss = loss_in_the_rarest(np.array(shares), margin, exclusive=exclusive)
    passed = 0
    for _ in range(trials):
        y_N = random.choice(classes, 100, p=shares)
        lost_N = (y_N == classes - 1) & (random.random(100) < loss)
        true_NC = np.eye(classes)[y_N]
        candidate_NC = np.where(lost_N[:, None], np.eye(classes)[0] * exclusive, true_NC)
        pair = PairedPredictions(*(csr_array(table_NC) for table_NC in (candidate_NC, true_NC, true_NC)))
        low, _ = f1_bounds(pair, 0.05, exclusive=exclusive)
        passed += low > -margin
    assert passed / trials <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5


def loss_in_the_rarest(share_C: np.ndarray, margin: float, *, exclusive: bool) -> float:
    """Returns the share of the rarest class whose loss, to the first class, costs `margin` of macro F1."""
    rare, first = share_C[-1], share_C[0]
    for loss in np.linspace(0, 1, 10_001):
        f1_rare = 2 * rare * (1 - loss) / (rare * (2 - loss))
        f1_first = 2 * first / (2 * first + rare * loss) if exclusive else 1.0
        if (2 - f1_rare - f1_first) / len(share_C) >= margin:
            return float(loss)
    raise AssertionError("losing the whole class costs less than the margin")
