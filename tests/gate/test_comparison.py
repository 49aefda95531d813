from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.core.schema import Column
from tasks.gate.checks import Verdict
from tasks.gate.class_answers import class_answers
from tasks.gate.comparison import GateCriteria, compare_classes, compare_labels, compare_values

CRITERIA = GateCriteria("auto", margin=0.02, error=0.05, group_margin=0.1)


def classified(truth: list[str], hits: np.ndarray, classes: list[str], clip: float = 0.0) -> pd.DataFrame:
    """Returns answers of a model that is right where `hits` is true; `clip` is the lowest probability."""
    table = pd.DataFrame(0.0, index=range(len(truth)), columns=classes)
    for row, (label, hit) in enumerate(zip(truth, hits, strict=True)):
        other = next(name for name in classes if name != label)
        table.loc[row, label if hit and label in classes else other] = 1.0
    return class_answers(table.clip(clip, 1 - clip).to_numpy(), pd.Series(truth), classes)


def test_only_images_of_classes_common_to_both_models_are_compared():
    truth = ["cat", "dog", "fox"] * 100
    rows = pd.DataFrame({"label": truth})
    ours = classified(truth, np.ones(300), ["cat", "dog", "fox"])
    live = classified(truth, np.ones(300), ["cat", "dog", "emu"])
    (check,) = compare_classes(rows, ours, live, CRITERIA, [])
    assert (check.what, check.verdict) == ("accuracy against live, 200 images", Verdict.PASS)
    other = classified(truth, np.ones(300), ["emu", "yak"])
    assert compare_classes(rows, ours, other, CRITERIA, [])[0].verdict is Verdict.UNDECIDED


def test_a_class_that_fell_refuses_though_the_whole_passes():
    truth = ["cat"] * 950 + ["fox"] * 50
    hits = np.ones(1000)
    hits[950:975] = 0
    before = np.ones(1000)
    before[:40] = 0
    tables = [classified(truth, of, ["cat", "fox"]) for of in (hits, before)]
    overall, fell = compare_classes(pd.DataFrame({"label": truth}), *tables, CRITERIA, [])
    assert overall.verdict is Verdict.PASS
    assert (fell.verdict, "class fox" in fell.what) == (Verdict.REFUSED, True)


@pytest.mark.parametrize(("noise", "verdict"), [(0.5, Verdict.PASS), (2.0, Verdict.REFUSED), (1.02, Verdict.UNDECIDED)])
def test_targets_are_compared_by_their_errors(noise, verdict):
    random = np.random.default_rng(0)
    truth = random.normal(size=300) * 30
    rows = pd.DataFrame({"target:angle": truth})
    live = pd.DataFrame({"angle": truth + random.normal(size=300)})
    ours = pd.DataFrame({"angle": truth + noise * random.normal(size=300)})
    (check,) = compare_values(rows, ours, live, CRITERIA, [])
    assert check.verdict is verdict, check


def test_models_of_other_targets_cannot_be_compared():
    rows = pd.DataFrame({"target:angle": [1.0]})
    checks = compare_values(rows, pd.DataFrame({"angle": [1.0]}), pd.DataFrame({"size": [1.0]}), CRITERIA, [])
    assert checks[0].verdict is Verdict.UNDECIDED


def test_a_target_without_error_in_the_live_model_is_measured_by_its_spread():
    truth = np.linspace(0, 1, 100)
    rows = pd.DataFrame({"target:size": truth})
    (check,) = compare_values(rows, pd.DataFrame({"size": truth + 1e-6}), pd.DataFrame({"size": truth}), CRITERIA, [])
    assert check.verdict is Verdict.PASS, check


def test_values_of_a_handful_of_images_decide_nothing():
    rows, better = pd.DataFrame({"target:size": np.arange(7.0)}), pd.DataFrame({"size": np.arange(7.0)})
    assert compare_values(rows, better, better + 1, CRITERIA, [])[0].verdict is Verdict.UNDECIDED


def test_log_likelihoods_decide_only_with_enough_wrong_images():
    random, truth = np.random.default_rng(0), ["cat", "dog"] * 500
    criteria = GateCriteria("nll", margin=0.02, error=0.05, group_margin=0.1)
    by_accuracy = {}
    for right in (0.999, 0.9):
        table = classified(truth, random.random(1000) < right, ["cat", "dog"], clip=0.1)
        (by_accuracy[right],) = compare_classes(pd.DataFrame({"label": truth}), table, table, criteria, [])
    assert (by_accuracy[0.999].verdict, by_accuracy[0.999].wanted) == (
        Verdict.UNDECIDED,
        "10 images that either model gets wrong",
    )
    assert by_accuracy[0.9].verdict is Verdict.PASS


def test_macro_f1_of_a_class_with_few_images_passes_no_equal_model():
    criteria = GateCriteria("macro_f1", margin=0.01, error=0.05, group_margin=0.1)
    verdicts = []
    for rare in (10, 500):
        truth = ["cat"] * (1000 - rare) + ["fox"] * rare
        table = classified(truth, np.ones(1000), ["cat", "fox"])
        verdicts.append(compare_classes(pd.DataFrame({"label": truth}), table, table, criteria, [])[0].verdict)
    assert verdicts == [Verdict.UNDECIDED, Verdict.PASS]


def compared(right, live_right, criteria=CRITERIA, labels=("a", "b")):
    """Returns verdicts for a number of correct predictions out of 400; the others are wrong in their second label."""
    truth = np.tile([[1.0, 0.0]], (400, 1))
    rows = pd.DataFrame({Column.LABEL: ["a"] * 400, "label:a": truth[:, 0], "label:b": truth[:, 1]})
    tables = []
    for count in (right, live_right):
        predicted_NL = truth > 0.5
        predicted_NL[count:, 1] = True
        tables.append(pd.DataFrame(predicted_NL, columns=list(labels)))
    checks = compare_labels(rows, *tables, criteria, [])
    return [check for check in checks if check.verdict is not Verdict.NOTE]


def test_a_prediction_is_correct_if_all_its_labels_are():
    assert [check.verdict for check in compared(380, 380)] == [Verdict.PASS]
    worse = compared(300, 390)
    assert [check.verdict for check in worse] == [Verdict.REFUSED, Verdict.REFUSED]
    assert "exactly the right labels" in worse[0].what
    assert "label b" in worse[1].what
    assert compared(400, 400, labels=("c", "d"))[0].verdict is Verdict.UNDECIDED
    assert compared(400, 400, GateCriteria("nll", 0.02, 0.05, 0.1))[0].verdict is Verdict.UNDECIDED
    assert compared(400, 395, GateCriteria("macro_f1", 0.02, 0.05, 0.1))[0].verdict is Verdict.PASS
    assert compared(200, 400, GateCriteria("macro_f1", 0.02, 0.05, 0.1))[0].verdict is Verdict.REFUSED


def test_a_rare_label_that_is_no_longer_predicted_refuses_though_the_whole_passes():
    truth = np.zeros((2000, 2), bool)
    truth[:1000, 0], truth[:156, 1] = True, True
    live, ours = truth.copy(), truth.copy()
    live[1500:1900, 0] = True
    ours[:, 1] = False
    rows = pd.DataFrame({Column.LABEL: ["a"] * 2000, "label:a": truth[:, 0] * 1.0, "label:b": truth[:, 1] * 1.0})
    tables = [pd.DataFrame(predicted, columns=["a", "b"]) for predicted in (ours, live)]
    overall, fell = compare_labels(rows, *tables, CRITERIA, [])
    assert overall.verdict is Verdict.PASS
    assert (fell.verdict, "with label b" in fell.what) == (Verdict.REFUSED, True)
