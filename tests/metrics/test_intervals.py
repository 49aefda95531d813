from __future__ import annotations

import numpy as np
import pytest

from tasks.core.schema import HIGH, LOW, VALUE, Metric
from tasks.metrics import classification, intervals


def test_intervals_cover_the_truth_at_their_nominal_rate():
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        right = rng.random(120) < 0.8
        p = np.where(right[:, None], [0.9, 0.1], [0.1, 0.9])
        low, high = intervals.interval(classification.accuracy, p, np.zeros(120, int), 300, seed)
        hits += low <= 0.8 <= high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_table_holds_every_metric_and_scaling_never_changes_accuracy(scored):
    p, y, _ = scored
    table = classification.scores(p, p**2 / (p**2).sum(1, keepdims=True), y, 10, 100, 0)
    assert set(table) == set(Metric) - {Metric.MAP, Metric.R2, Metric.MAE, Metric.RMSE, Metric.AGREEMENT}
    assert table[Metric.ACCURACY][VALUE] == classification.accuracy(p, y)
    assert table[Metric.NLL][VALUE] != table[Metric.NLL_UNCALIBRATED][VALUE]
    assert all(row[LOW] <= row[VALUE] <= row[HIGH] for name, row in table.items() if "ece" not in name)


def test_an_interval_stays_wide_when_few_predictions_are_all_correct():
    assert intervals.hit_interval(1.0, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)  # Wilson's
    assert intervals.hit_interval(0.0, 7) == pytest.approx((0.0, 0.3543), abs=1e-4)
    p = np.tile([0.9, 0.1], (20, 1))
    table = classification.scores(p, p, np.zeros(20, int), 10, 100, 0)
    assert table[Metric.ACCURACY][LOW] == pytest.approx(0.8389, abs=1e-4)
