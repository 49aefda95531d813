from __future__ import annotations

import numpy as np
import pytest

from tasks.core.schema import Metric
from tasks.gate import checks
from tasks.gate.checks import Check, Verdict
from tasks.gate.paired_tests import PairedScores, min_images_to_pass, tango_bounds


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


def test_any_score_can_be_compared_by_the_paired_bootstrap():
    random = np.random.default_rng(0)
    live = random.normal(size=400)
    better = live + 0.5 + random.normal(size=400)
    score = lambda rows: float((better[rows] - live[rows]).mean())  # noqa: E731
    arguments = {"count": 400, "margin": 0.1, "error": 0.05, "resamples": 500, "seed": 0, "what": "score"}
    assert checks.compare_scores(score, **arguments).verdict is Verdict.PASS
    assert checks.compare_scores(lambda rows: -score(rows), **arguments).verdict is Verdict.REFUSED


def test_few_images_pass_no_more_often_than_they_may():
    """The model loses the whole margin, and gains are normal; plain percentiles would pass 11% with 5 images."""
    random, passed = np.random.default_rng(0), 0
    for seed in range(400):
        gain = random.normal(-0.5, 1, 5)
        score = lambda rows, gain=gain: float(gain[rows].mean())  # noqa: E731
        check = checks.compare_scores(score, 5, 0.5, 0.05, 400, seed, "score")
        passed += check.verdict is Verdict.PASS
    assert passed / 400 < 0.08
    assert checks.compare_scores(lambda _rows: 1.0, 1, 0.5, 0.05, 400, 0, "score").verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(("margin", "error"), [(0.01, 0.05), (0.1, 0.05), (0.05, 0.2)])
def test_models_with_equal_predictions_pass_from_the_minimum_number_of_images(margin, error):
    count = min_images_to_pass(margin, error)
    assert tango_bounds(0, 0, count, error)[0] > -margin >= tango_bounds(0, 0, count - 1, error)[0]
    arguments = {"margin": margin, "error": error, "resamples": 100, "seed": 0, "what": "", "min_images": count}
    assert checks.compare_scores(lambda _rows: 0.0, count, **arguments).verdict is Verdict.PASS
    assert checks.compare_scores(lambda _rows: 0.0, count - 1, **arguments).verdict is Verdict.UNDECIDED


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
