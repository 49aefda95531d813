from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.metrics.selective import NO_THRESHOLD, coverage_and_risk, min_images, risk_coverage, threshold_for

SURE = np.array([0.9, 0.8, 0.8, 0.6, 0.5])
HIT = np.array([True, True, False, True, False])


def test_risk_and_coverage_by_hand():
    coverage, risk, threshold = risk_coverage(SURE, HIT)
    assert coverage == pytest.approx([0.2, 0.6, 0.8, 1.0])
    assert risk == pytest.approx([0, 1 / 3, 1 / 4, 2 / 5])
    assert threshold == pytest.approx([0.9, 0.8, 0.6, 0.5])


def drawn(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns confidences, (N,), and hits of a model that is right in 90% of cases, more often if it is confident."""
    margin_N = random.normal(3.2, 2.5, count)
    return 1 / (1 + np.exp(-np.abs(margin_N))), margin_N > 0


@pytest.mark.parametrize(("images", "risk"), [(200, 0.05), (1000, 0.05), (1000, 0.02)])
def test_the_true_risk_rarely_exceeds_the_accepted_one(images, risk):
    """The threshold that meets the risk on the validation images exceeds it in half of the cases."""
    random, splits = np.random.default_rng(0), 200
    confidence_M, hit_M = drawn(random, 200_000)
    thresholds = [threshold_for(*drawn(random, images), risk) for _ in range(splits)]
    outcomes = [coverage_and_risk(confidence_M, hit_M, threshold) for threshold in thresholds]
    assert np.mean([true_risk > risk for _, true_risk in outcomes]) <= 0.05
    assert np.mean([coverage for coverage, _ in outcomes]) > 0.2


def test_the_coverage_is_full_if_every_answer_may_be_trusted():
    confidence_N = np.linspace(0.5, 1, 300)
    assert threshold_for(confidence_N, np.ones(300, bool), 0.05) == 0.0
    assert threshold_for(np.full(300, 0.9), np.arange(300) > 2, 0.05) == 0.0  # ties are accepted together


def test_a_risk_takes_a_minimum_of_images_to_show():
    assert min_images(0.02) == 149
    for count, shown in ((148, False), (149, True)):
        threshold = threshold_for(np.full(count, 0.9), np.ones(count, bool), 0.02)
        assert (threshold != NO_THRESHOLD) is shown
    assert coverage_and_risk(np.array([1.0]), np.array([False]), NO_THRESHOLD) == (0.0, 0.0)


@given(st.lists(st.tuples(st.floats(0.1, 1), st.booleans()), min_size=1), st.floats(0.01, 0.9))
def test_the_risk_holds_on_the_data_that_the_threshold_was_chosen_on(rows, risk):
    sure, hit = (np.array(column) for column in zip(*rows, strict=True))
    assert coverage_and_risk(sure, hit, threshold_for(sure, hit, risk))[1] <= risk + 1e-9
