from __future__ import annotations

import numpy as np
import pytest

from tasks.core.schema import HIGH, LOW, VALUE, Metric
from tasks.metrics.regression import target_scores, value_scores


@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_r2_does_not_depend_on_units_and_tolerates_almost_constant_targets(unit):
    y = unit * np.random.default_rng(0).normal(3.0, 0.3, (200, 1))
    scored = value_scores(np.full_like(y, y.mean()), y, [0.3 * unit])
    assert scored[Metric.R2][VALUE] == pytest.approx(0.0, abs=1e-9)
    rare = np.zeros((60, 1))
    rare[:2] = unit
    assert value_scores(rare + 0.05 * unit, rare, [0.2 * unit])[Metric.R2][VALUE] > 0.9
    alone = value_scores(np.array([[3.1]]) * unit, np.array([[3.0]]) * unit, [0.2 * unit])
    assert alone[Metric.R2][VALUE] == pytest.approx(0.75)


def test_only_the_mean_error_has_an_interval():
    random = np.random.default_rng(0)
    y = random.normal(size=(80, 1))
    scored = value_scores(y + 0.1 * random.normal(size=(80, 1)), y, [1.0])
    assert scored[Metric.MAE][LOW] < scored[Metric.MAE][VALUE] < scored[Metric.MAE][HIGH]
    assert [set(scored[metric]) for metric in (Metric.R2, Metric.RMSE)] == [{VALUE}, {VALUE}]


def test_errors_of_several_targets_are_never_pooled_over_units():
    """Changing the unit of one target changes its own errors alone."""
    random = np.random.default_rng(0)
    y = random.normal(size=(50, 2))
    predicted = y + random.normal(size=(50, 2))
    unit = np.array([1.0, 1000.0])
    one, other = (value_scores(predicted * by, y * by, 2.0 * by) for by in (np.ones(2), unit))
    assert set(one) == {Metric.R2, Metric.SCALED_MAE}
    assert one[Metric.SCALED_MAE] == pytest.approx(other[Metric.SCALED_MAE])
    assert one[Metric.SCALED_MAE][VALUE] == pytest.approx(np.abs(predicted - y).mean() / 2)
    rows = target_scores(predicted * unit, y * unit, 2.0 * unit, ["angle", "size"])
    expected = np.abs(predicted - y).mean(0) * unit
    assert [row[Metric.MAE] for row in rows.values()] == pytest.approx(expected)
    assert list(rows["size"]) == [Metric.MAE, LOW, HIGH, Metric.R2, Metric.RMSE]
