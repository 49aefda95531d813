"""Several labels an image: thresholds, scores, and the gate's comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from tasks.core.errors import DataRefusedError
from tasks.core.schema import TARGET, Column
from tasks.gate.checks import Verdict
from tasks.gate.comparison import Terms, compare_labels
from tasks.metrics.multilabel import exact, label_macro_f1, label_scores, mean_average_precision, thresholds_for
from tasks.training.goal import Goal
from tasks.training.losses.binary_cross_entropy import binary_cross_entropy
from tasks.training.measures import measure_labels

TERMS = Terms("auto", 0.02, 0.05, 0.1, 500)


def answers(seed=0, count=200, labels=3, skill=1.5):
    rng = np.random.default_rng(seed)
    y = rng.random((count, labels)) < 0.4
    return 1 / (1 + np.exp(-skill * (2 * y - 1) - rng.normal(0, 1, y.shape))), y.astype(float)


@given(st.integers(0, 1000))
def test_no_threshold_has_a_better_f1_on_validation(seed):
    probability, y = answers(seed, 30, 2)
    found = thresholds_for(probability, y)
    for place in range(2):
        true, sure = y[:, place] > 0.5, probability[:, place]
        given_TN = sure >= np.array([*np.linspace(0, 1, 101), found[place]])[:, None]
        f1_T = 2 * (given_TN & true).sum(1) / np.maximum(given_TN.sum(1) + true.sum(), 1)
        assert f1_T[-1] >= f1_T.max() - 1e-9


def test_a_label_that_validation_does_not_have_is_given_from_a_half():
    probability, y = answers()
    y[:, 1] = 0
    assert thresholds_for(probability, y)[1] == 0.5


def test_scores_are_scikit_learns():
    probability, y = answers()
    given_NC = probability >= 0.5
    assert label_macro_f1(given_NC, y) == pytest.approx(f1_score(y, given_NC, average="macro"))
    assert mean_average_precision(probability, y) == pytest.approx(average_precision_score(y, probability))
    assert exact(given_NC, y) == (given_NC == y).all(1).mean()
    table = label_scores(probability, y, np.full(3, 0.5), 200, 0)
    assert set(table) == {"accuracy", "macro_f1", "map", "nll"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in table.values())


def test_the_loss_is_torchs_and_smoothing_draws_to_a_half():
    logits, y = torch.randn(6, 3), torch.randint(0, 2, (6, 3)).float()
    loss = binary_cross_entropy()(lambda x: x, logits, y)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(1))
    smooth = binary_cross_entropy(0.2)(lambda x: x, logits, y)
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * y + 0.1, reduction="none").mean(1)
    torch.testing.assert_close(smooth, expected)
    assert measure_labels(logits, y)[1] == pytest.approx(f1_score(y, logits >= 0, average="macro", zero_division=0))
    perfect = torch.tensor([[9.0, -9.0, -9.0], [-9.0, 9.0, -9.0]])  # the third label is nobody's
    assert measure_labels(perfect, (perfect > 0).float())[1] == 1.0


def test_targets_whose_spread_is_lost_beside_their_mean_are_refused():
    """Unix times that differ by minutes: float32 tells them apart by two minutes."""
    rows = pd.DataFrame({Column.SPLIT: "train", f"{TARGET}at": 1.6e9 + np.arange(100.0)})
    with pytest.raises(DataRefusedError, match=r"at: the numbers differ by less .* subtract a constant"):
        Goal.of(rows)
    assert Goal.of(rows.assign(**{f"{TARGET}at": np.arange(100.0)})).targets == ("at",)


@pytest.mark.parametrize("value", [0.0, 0.1, 5.0])
def test_a_target_that_is_always_the_same_is_refused(value):
    rows = pd.DataFrame({Column.SPLIT: "train", f"{TARGET}at": np.full(100, value)})
    with pytest.raises(DataRefusedError, match="at: all training images have the same number; leave it out"):
        Goal.of(rows)


def compared(right, live_right, terms=TERMS, labels=("a", "b")):
    """Verdicts where so many of 400 answers are right, the wrong ones in their second label."""
    truth = np.tile([[1.0, 0.0]], (400, 1))
    rows = pd.DataFrame({Column.LABEL: ["a"] * 400, "label:a": truth[:, 0], "label:b": truth[:, 1]})
    tables = []
    for count in (right, live_right):
        given_NL = truth > 0.5
        given_NL[count:, 1] = True
        tables.append(pd.DataFrame(given_NL, columns=list(labels)))
    return compare_labels(rows, *tables, terms, [])


def test_an_answer_is_right_where_all_its_labels_are():
    assert [check.verdict for check in compared(380, 380)] == [Verdict.PASS]
    worse = compared(300, 390)
    assert [check.verdict for check in worse] == [Verdict.REFUSED, Verdict.REFUSED]
    assert "exactly the right labels" in worse[0].what
    assert "label b" in worse[1].what
    assert compared(400, 400, labels=("c", "d"))[0].verdict is Verdict.UNDECIDED
    assert compared(400, 400, Terms("nll", 0.02, 0.05, 0.1, 500))[0].verdict is Verdict.UNDECIDED
    assert compared(400, 395, Terms("macro_f1", 0.02, 0.05, 0.1, 500))[0].verdict is Verdict.PASS
    assert compared(200, 400, Terms("macro_f1", 0.02, 0.05, 0.1, 500))[0].verdict is Verdict.REFUSED


def test_a_rare_label_that_is_never_given_any_more_refuses_though_the_whole_passes():
    truth = np.zeros((2000, 2), bool)
    truth[:1000, 0], truth[:156, 1] = True, True
    live, ours = truth.copy(), truth.copy()
    live[1500:1900, 0] = True
    ours[:, 1] = False
    rows = pd.DataFrame({Column.LABEL: ["a"] * 2000, "label:a": truth[:, 0] * 1.0, "label:b": truth[:, 1] * 1.0})
    tables = [pd.DataFrame(given, columns=["a", "b"]) for given in (ours, live)]
    overall, fell = compare_labels(rows, *tables, TERMS, [])
    assert overall.verdict is Verdict.PASS
    assert (fell.verdict, "with label b" in fell.what) == (Verdict.REFUSED, True)
