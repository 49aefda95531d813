from __future__ import annotations

import numpy as np
import pytest

from tasks.core.schema import LOW, VALUE, Metric
from tasks.metrics.regression import value_scores


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_r2_does_not_depend_on_units_and_its_interval_tolerates_degenerate_resamples(unit):
    y = unit * np.random.default_rng(0).normal(3.0, 0.3, (200, 1))
    scored = value_scores(np.full_like(y, y.mean()), y, [0.3 * unit], 100, 0)
    assert scored[Metric.R2][VALUE] == pytest.approx(0.0, abs=1e-9)
    rare = np.zeros((60, 1))
    rare[:2] = unit
    scored = value_scores(rare + 0.05 * unit, rare, [0.2 * unit], 200, 0)
    assert scored[Metric.R2][LOW] > 0.9
    alone = value_scores(np.array([[3.1]]) * unit, np.array([[3.0]]) * unit, [0.2 * unit], 100, 0)
    assert alone[Metric.R2][VALUE] == pytest.approx(0.75)
