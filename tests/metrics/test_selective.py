from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics.selective import coverage_and_risk, risk_coverage, threshold_for

SURE = np.array([0.9, 0.8, 0.8, 0.6, 0.5])
HIT = np.array([True, True, False, True, False])


def test_risk_and_coverage_by_hand():
    coverage, risk, threshold = risk_coverage(SURE, HIT)
    assert coverage == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert risk == pytest.approx([0, 1 / 3, 1 / 4, 2 / 5])
    assert threshold == pytest.approx([0.9, 0.8, 0.6, 0.5])


@pytest.mark.parametrize(("risk", "threshold"), [(0.1, 0.9), (0.3, 0.6), (0.5, 0.0)])
def test_the_threshold_maximizes_coverage_at_the_accepted_risk(risk, threshold):
    assert threshold_for(SURE, HIT, risk) == threshold


def test_coverage_is_zero_if_no_threshold_meets_the_risk():
    threshold = threshold_for(np.array([0.9, 1.0]), np.array([True, False]), 0.1)
    assert coverage_and_risk(np.array([1.0]), np.array([False]), threshold) == (0.0, 0.0)


@given(st.lists(st.tuples(st.floats(0.1, 1), st.booleans()), min_size=1), st.floats(0.01, 0.9))
def test_the_risk_holds_on_the_data_that_the_threshold_was_chosen_on(rows, risk):
    sure, hit = (np.array(column) for column in zip(*rows, strict=True))
    assert coverage_and_risk(sure, hit, threshold_for(sure, hit, risk))[1] <= risk + 1e-9
