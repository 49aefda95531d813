from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.gate.checks import Verdict, compare_gains, compare_groups, compare_hits
from tasks.gate.paired_tests import PairedScores
from tasks.gate.power import (
    images_to_pass,
    images_to_refuse_gains,
    images_to_refuse_hits,
    note_groups,
    note_images,
)


def pair(better: int, worse: int, same: int) -> PairedScores:
    """Returns two models' hits, from the numbers of images that only one of them, or both, recognize."""
    candidate = np.array([1] * better + [0] * worse + [1] * same)
    return PairedScores(candidate, np.array([0] * better + [1] * worse + [1] * same))


def is_refused(group: PairedScores, tests: int, margin: float, error: float) -> bool:
    """Returns whether the group is refused beside others in which both models recognize everything."""
    others = {str(number): pair(0, 0, 40) for number in range(tests - 1)}
    return bool(compare_groups({"group": group, **others}, margin, error))


@pytest.mark.parametrize("tests", [1, 2, 10, 300])
@pytest.mark.parametrize(("margin", "error"), [(0.1, 0.05), (0.02, 0.05), (0.5, 0.01), (0.1, 0.5)])
def test_no_outcome_of_fewer_images_refuses_a_class_and_the_worst_one_of_enough_does(tests, margin, error):
    needed = images_to_refuse_hits(tests, margin, error)
    assert is_refused(pair(0, needed, 0), tests, margin, error)
    for count in range(1, needed):
        outcomes = [(better, worse) for better in range(count + 1) for worse in range(count + 1 - better)]
        if tests > 10:
            outcomes = [(0, count), (0, count - 1), (1, count - 1)]
        refused = [each for each in outcomes if is_refused(pair(*each, count - sum(each)), tests, margin, error)]
        assert refused == [], f"{count} of {needed} images"


@given(st.integers(1, 2000), st.floats(0.001, 0.95), st.floats(0.0001, 0.5))
@settings(max_examples=50)
def test_the_worst_outcome_decides_exactly_at_the_number(tests, margin, error):
    needed = images_to_refuse_hits(tests, margin, error)
    others = {str(number): pair(0, 0, 5) for number in range(tests - 1)}
    refused = [
        bool(compare_groups({"x": pair(0, n, 0), **others}, margin, error)) for n in (needed, max(needed - 1, 1))
    ]
    assert refused == [True, needed == 1]


def test_a_class_that_may_lose_everything_is_never_refused():
    assert images_to_refuse_hits(10, 1.0, 0.05) is None
    assert note_groups({"class a": 3}, None) == []


@pytest.mark.parametrize("tests", [1, 8])
def test_gains_of_fewer_images_refuse_no_slice_and_the_worst_ones_of_enough_do(tests):
    needed, random = images_to_refuse_gains(tests, 0.05), np.random.default_rng(0)
    others = {str(number): np.zeros(5) for number in range(tests - 1)}

    def refused(gain_N: np.ndarray) -> bool:
        return bool(compare_gains({"slice": gain_N, **others}, 0.1, 0.05))

    assert refused(np.full(needed, -1e9))
    for count in range(1, needed):
        assert not refused(np.full(count, -1e9))
        draws = -random.exponential(size=(300, count)) * 10.0 ** random.uniform(-2, 6, (300, 1))
        alike = -1e6 + random.normal(size=(300, count)) * 10.0 ** random.uniform(-3, 5, (300, 1))
        assert not any(refused(gain_N) for gain_N in (*draws, *alike))


@pytest.mark.parametrize(("margin", "error"), [(0.01, 0.05), (0.05, 0.05), (0.01, 0.2)])
def test_an_equal_model_passes_exactly_from_the_number_of_images_on(margin, error):
    needed = images_to_pass(margin, error)
    verdicts = [compare_hits(pair(0, 0, count), margin, error).verdict for count in (needed - 1, needed)]
    assert verdicts == [Verdict.UNDECIDED, Verdict.PASS]
    assert (needed == 268) is ((margin, error) == (0.01, 0.05))  # as the documentation says


def test_a_note_names_the_smallest_groups():
    sizes = {f"class {number}": number for number in range(25)}
    (note,) = note_groups(sizes, 20)
    assert note.verdict is Verdict.NOTE
    assert note.what == "groups of fewer than 20 test images"
    assert note.found == "class 0 (0), class 1 (1), class 2 (2) and 17 more cannot be refused by themselves"
    assert note_groups({"class a": 20}, 20) == []


def test_an_undecided_comparison_of_hits_says_how_many_images_it_takes():
    few, many = (compare_hits(pair(8, 8, count - 16), 0.01, 0.05) for count in (100, 400))
    (note,) = note_images(few, 100, 0.01, 0.05)
    assert (note.found, note.wanted) == ("100", "268 for an equal model to pass")
    assert many.verdict is Verdict.UNDECIDED
    assert note_images(many, 400, 0.01, 0.05) == []
