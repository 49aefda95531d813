from __future__ import annotations

import numpy as np
import pytest

from tasks.core.schema import Metric
from tasks.gate import checks
from tasks.gate.checks import Check, Verdict
from tasks.gate.paired_tests import PairedScores


def pair(better: int, worse: int, both: int) -> PairedScores:
    """Returns two models' hits, from the numbers of images that only the candidate, only the live model or both hit."""
    candidate = np.array([1] * better + [0] * worse + [1] * both)
    return PairedScores(candidate, np.array([0] * better + [1] * worse + [1] * both))


@pytest.mark.parametrize(
    ("better", "worse", "both", "verdict"),
    [
        (0, 0, 797, Verdict.PASS),
        (10, 5, 782, Verdict.PASS),
        (0, 0, 100, Verdict.UNDECIDED),
        (5, 8, 187, Verdict.UNDECIDED),
        (5, 25, 767, Verdict.REFUSED),
    ],
)
def test_the_comparison_passes_refuses_or_cannot_tell(better, worse, both, verdict):
    check = checks.compare_hits(pair(better, worse, both), margin=0.01, error=0.05)
    assert check.verdict is verdict
    assert check.wanted == "more than -0.01 at the 95% confidence level"


def test_a_class_that_got_worse_is_refused_by_name():
    groups = {"cat": pair(0, 20, 30), "dog": pair(1, 2, 47), "fox": pair(3, 0, 10)}
    (check,) = checks.compare_groups(groups, margin=0.1, error=0.05)
    assert (check.verdict, "cat" in check.what) == (Verdict.REFUSED, True)


def test_groups_rarely_err_together():
    random = np.random.default_rng(0)
    erred = 0
    for _ in range(300):
        groups = {}
        for name in range(20):
            both, better, worse = random.multinomial(40, [0.85, 0.05, 0.1])
            groups[str(name)] = pair(better, worse, both)
        erred += bool(checks.compare_groups(groups, margin=0.05, error=0.05))
    assert erred / 300 <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5


@pytest.mark.parametrize(
    ("value", "limit", "higher", "verdict"),
    [(0.9, 0.8, True, Verdict.PASS), (0.7, 0.8, True, Verdict.REFUSED), (0.3, 0.2, False, Verdict.REFUSED)],
)
def test_floors(value, limit, higher, verdict):
    assert checks.floor("score", value, limit, higher_is_better=higher).verdict is verdict


def test_agreement_with_a_teacher_has_a_floor():
    verdicts = [checks.floors({Metric.AGREEMENT: 0.95}, {Metric.AGREEMENT: value})[0].verdict for value in (0.98, 0.4)]
    assert verdicts == [Verdict.PASS, Verdict.REFUSED]


def test_a_floor_in_the_units_of_one_target_cannot_judge_several():
    floors = {Metric.MAE: 2.0, Metric.SCALED_MAE: 0.5}
    verdicts = [check.verdict for check in checks.floors(floors, {Metric.SCALED_MAE: 0.3, Metric.R2: 0.9})]
    assert verdicts == [Verdict.PASS, Verdict.UNDECIDED]
    assert [check.verdict for check in checks.floors(floors, {Metric.MAE: 3.0})] == [Verdict.REFUSED]


def test_mean_gains_pass_refuse_or_cannot_tell():
    random = np.random.default_rng(0)
    gain_N = 0.5 + random.normal(size=400)
    verdicts = [checks.compare_means(gains, 0.1, 0.05, "score").verdict for gains in (gain_N, -gain_N, gain_N[:4])]
    assert verdicts == [Verdict.PASS, Verdict.REFUSED, Verdict.UNDECIDED]


@pytest.mark.parametrize("images", [5, 60, 268])
@pytest.mark.parametrize("draw", ["normal", "skewed", "heavy"])
def test_mean_gains_of_a_model_that_loses_the_margin_rarely_pass(images, draw):
    """Without one more loss, up to 16% of the candidates with skewed losses pass."""
    random, trials = np.random.default_rng(0), 1000
    shape = (trials, images)
    losses = {
        "normal": random.normal(size=shape),
        "skewed": random.exponential(1, shape) - 1,
        "heavy": random.standard_t(3, shape),
    }[draw]
    passed = sum(checks.compare_means(-loss_N - 0.2, 0.2, 0.05, "").verdict is Verdict.PASS for loss_N in losses)
    assert passed / trials <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5


def test_slices_of_few_images_are_refused_no_more_often_than_they_may():
    random, refused = np.random.default_rng(0), 0
    for _ in range(1000):
        groups = {str(place): random.normal(-0.1, 0.3, 3) for place in range(8)}
        refused += bool(checks.compare_gains(groups, margin=0.1, error=0.05))
    assert refused / 1000 < 0.08


def test_one_refusal_outweighs_everything_and_undecided_outweighs_passed():
    rows = [Check("", "", "", verdict) for verdict in (Verdict.PASS, Verdict.UNDECIDED, Verdict.REFUSED)]
    assert [checks.overall(rows[:count]) for count in range(4)] == [Verdict.PASS, *(row.verdict for row in rows)]


def test_a_slice_that_lost_too_much_refuses():
    random = np.random.default_rng(0)
    gains = {"dark": random.normal(-0.5, 0.3, 60), "light": random.normal(0, 0.3, 60), "one": np.array([-9.0])}
    (check,) = checks.compare_gains(gains, margin=0.1, error=0.05)
    assert (check.verdict, "dark" in check.what) == (Verdict.REFUSED, True)
