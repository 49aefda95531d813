from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from tasks.gate.paired_tests import holm, tango_bounds, tango_z


def test_the_statistic_at_zero_is_mcnemars():
    assert tango_z(10, 5, 100, 0.0) == pytest.approx((10 - 5) / 15**0.5)


def test_the_statistic_reaches_its_critical_value_at_the_bounds():
    low, high = tango_bounds(12, 7, 300, 0.05)
    z = norm.ppf(0.95)
    assert tango_z(12, 7, 300, low) == pytest.approx(z, abs=1e-6)
    assert tango_z(12, 7, 300, high) == pytest.approx(-z, abs=1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400))
def test_bounds_enclose_the_difference_and_mirror(better, worse, both):
    count = better + worse + both
    low, high = tango_bounds(better, worse, count, 0.05)
    assert -1 <= low <= (better - worse) / count <= high <= 1
    mirrored = tango_bounds(worse, better, count, 0.05)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


def test_a_model_that_loses_the_margin_rarely_passes():
    """At a true loss of exactly the margin, it passes in at most 5% of cases, plus two standard errors."""
    random, trials = np.random.default_rng(0), 2000
    lost, margin = 0.04, 0.02
    counts = random.multinomial(500, [lost - margin, lost, 1 - 2 * lost + margin], trials)
    passed = np.mean([tango_bounds(int(b), int(w), 500, 0.05)[0] > -margin for b, w, _ in counts])
    assert passed <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5


def test_holm_by_hand():
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"b": 0.03, "c": 0.06, "a": 0.06})
