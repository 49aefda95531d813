from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.gate.checks import Verdict
from tasks.gate.comparison import Terms, compare, compare_values

TERMS = Terms("auto", margin=0.02, error=0.05, group_margin=0.1, resamples=500)


def classified(truth: list[str], hits: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Probabilities of a model that is right where `hits` says so."""
    table = pd.DataFrame(0.0, index=range(len(truth)), columns=classes)
    for row, (label, hit) in enumerate(zip(truth, hits, strict=True)):
        other = next(name for name in classes if name != label)
        table.loc[row, label if hit and label in classes else other] = 1.0
    return table


def test_only_images_whose_class_both_know_are_compared():
    truth = ["cat", "dog", "fox"] * 100
    rows = pd.DataFrame({"label": truth})
    ours = classified(truth, np.ones(300), ["cat", "dog", "fox"])
    live = classified(truth, np.ones(300), ["cat", "dog", "emu"])
    (check,) = compare(rows, ours, live, TERMS, [])
    assert (check.what, check.verdict) == ("accuracy against live, 200 images", Verdict.PASS)
    assert compare(rows, ours, live[["emu"]], TERMS, [])[0].verdict is Verdict.UNDECIDED


def test_a_class_that_fell_refuses_though_the_whole_passes():
    truth = ["cat"] * 950 + ["fox"] * 50
    hits = np.ones(1000)
    hits[950:975] = 0
    before = np.ones(1000)
    before[:40] = 0
    tables = [classified(truth, of, ["cat", "fox"]) for of in (hits, before)]
    overall, fell = compare(pd.DataFrame({"label": truth}), *tables, TERMS, [])
    assert overall.verdict is Verdict.PASS
    assert (fell.verdict, "class fox" in fell.what) == (Verdict.REFUSED, True)


@pytest.mark.parametrize(("noise", "verdict"), [(0.5, Verdict.PASS), (2.0, Verdict.REFUSED), (1.02, Verdict.UNDECIDED)])
def test_targets_are_compared_by_their_errors(noise, verdict):
    random = np.random.default_rng(0)
    truth = random.normal(size=300) * 30
    rows = pd.DataFrame({"target:angle": truth})
    live = pd.DataFrame({"angle": truth + random.normal(size=300)})
    ours = pd.DataFrame({"angle": truth + noise * random.normal(size=300)})
    (check,) = compare_values(rows, ours, live, TERMS, [])
    assert check.verdict is verdict, check


def test_models_of_other_targets_cannot_be_compared():
    rows = pd.DataFrame({"target:angle": [1.0]})
    found = compare_values(rows, pd.DataFrame({"angle": [1.0]}), pd.DataFrame({"size": [1.0]}), TERMS, [])
    assert found[0].verdict is Verdict.UNDECIDED


def test_a_target_that_live_knows_exactly_is_measured_by_its_spread():
    truth = np.linspace(0, 1, 100)
    rows = pd.DataFrame({"target:size": truth})
    (check,) = compare_values(rows, pd.DataFrame({"size": truth + 1e-6}), pd.DataFrame({"size": truth}), TERMS, [])
    assert check.verdict is Verdict.PASS, check


def test_values_of_a_handful_of_images_decide_nothing():
    rows, better = pd.DataFrame({"target:size": np.arange(7.0)}), pd.DataFrame({"size": np.arange(7.0)})
    assert compare_values(rows, better, better + 1, TERMS, [])[0].verdict is Verdict.UNDECIDED


def test_log_likelihoods_of_too_few_images_decide_nothing():
    truth = ["cat", "dog"] * 60
    table = classified(truth, np.ones(120), ["cat", "dog"])
    terms = Terms("nll", margin=0.02, error=0.05, group_margin=0.1, resamples=500)
    (check,) = compare(pd.DataFrame({"label": truth}), table, table, terms, [])
    assert (check.verdict, check.wanted) == (Verdict.UNDECIDED, "133 images or more")
