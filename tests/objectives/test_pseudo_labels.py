from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.objectives.losses.pseudo_labels import accept, audit


@given(st.integers(1, 40), st.floats(0, 0.99), st.integers(0, 5), st.integers(0, 2**31 - 1))
@settings(max_examples=60)
def test_quotas_keep_the_most_confident_predictions_of_each_class(rows, threshold, quota, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(3), rows)
    taken = accept(p, threshold, quota)
    assert (p.max(1)[taken] >= threshold).all()
    for label in range(3):
        confident = (p.argmax(1) == label) & (p.max(1) >= threshold)
        kept = confident & taken
        assert kept.sum() == (min(quota, confident.sum()) if quota else confident.sum())
        if kept.any() and (confident & ~kept).any():
            assert p.max(1)[kept].min() >= p.max(1)[confident & ~kept].max()


def test_the_audit_counts_trusted_predictions_only():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.05, 0.95]])
    result = audit(p, np.array([0, 1, 0, 1]), 0.75)
    assert (result.accepted, result.precision) == (3, pytest.approx(2 / 3))
    assert audit(p, np.array([0, 1, 0, 1]), [0.95, 0.9]).accepted == 1
