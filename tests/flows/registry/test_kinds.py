"""The registry's behavior by kind of target, and the kind of a version whose spec does not record one."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from flows.registry.kinds import (
    ANSWER_COLUMNS,
    ANSWER_TEXTS,
    DIFFERENCES,
    EVALUATED_ANSWERS,
    LIVE_ANSWERS,
    SUMMARY_COLUMNS,
)
from flows.registry.verdict import _types
from tasks.core.target import TargetKind, TargetSpec, kind_of
from tasks.evaluation.version_scorer import scorer_kind

TARGETS = TargetSpec(TargetKind.REGRESSION, targets=("w", "h"))


TABLES = [ANSWER_COLUMNS, ANSWER_TEXTS, DIFFERENCES, EVALUATED_ANSWERS, LIVE_ANSWERS, SUMMARY_COLUMNS]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_knows_every_kind(table):
    assert set(table) == set(TargetKind)


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"classes": ["a"], "targets": [], "label_thresholds": []}, TargetKind.CLASSIFICATION),
        ({"classes": ["a"]}, TargetKind.CLASSIFICATION),
        ({"classes": ["a"], "targets": [], "label_thresholds": [0.5]}, TargetKind.MULTILABEL),
        ({"classes": [], "targets": ["w"], "label_thresholds": []}, TargetKind.REGRESSION),
    ],
)
def test_the_kind_of_a_version_is_derived_from_its_spec(spec, kind):
    assert kind_of(spec) is kind
    fields = {"targets": (), **{name: tuple(values) for name, values in spec.items()}}
    assert scorer_kind(SimpleNamespace(**fields)) is kind


def test_the_signature_has_the_targets_or_the_predicted_classes():
    assert [column.name for column in ANSWER_COLUMNS[TargetKind.REGRESSION](TARGETS)] == ["w", "h", "error"]
    names = [column.name for column in ANSWER_COLUMNS[TargetKind.MULTILABEL](TargetSpec())]
    assert names == ["label", "probability", "confident", "distribution", "error"]


def test_differences_are_of_probabilities_or_in_standard_deviations():
    evaluated = pd.DataFrame({"distribution": [[0.9, 0.1], [0.2, 0.8]]})
    served = pd.DataFrame({"distribution": [{"a": 0.9, "b": 0.1}, {"a": 0.25, "b": 0.75}]})
    assert DIFFERENCES[TargetKind.CLASSIFICATION](served, evaluated, TargetSpec()) == pytest.approx(0.05)
    evaluated = pd.DataFrame({"predicted:w": [0.0, 20.0], "predicted:h": [0.0, 2.0]})
    served = pd.DataFrame({"h": [0.0, 2.5], "w": [1.0, 20.0]})
    assert DIFFERENCES[TargetKind.REGRESSION](served, evaluated, TARGETS) == pytest.approx(0.5)


def test_evaluated_predictions_are_probabilities_labels_or_numbers():
    predictions = pd.DataFrame({"distribution": [[0.9, 0.1], [0.2, 0.8]], "predicted:w": [1.0, 2.0], "label": "b"})
    spec = {"classes": ["a", "b"], "label_thresholds": [0.1, 0.5], "targets": ["w"]}
    classes = EVALUATED_ANSWERS[TargetKind.CLASSIFICATION](predictions, spec)
    assert classes["predicted"].tolist() == ["a", "b"]
    assert classes["label_probability"].tolist() == [0.1, 0.8]
    assert EVALUATED_ANSWERS[TargetKind.MULTILABEL](predictions, spec)["a"].tolist() == [True, True]
    assert EVALUATED_ANSWERS[TargetKind.REGRESSION](predictions, spec)["w"].tolist() == [1.0, 2.0]


def test_answers_of_the_live_model_are_like_the_evaluated_ones_and_differ_by_kind():
    output_NC = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    rows = pd.DataFrame({"label": ["b", "another"]})
    scorer = SimpleNamespace(classes=("a", "b"), targets=("w", "h"), label_thresholds=(0.1, 0.5))
    answers = {kind: answers_of(output_NC, rows, scorer) for kind, answers_of in LIVE_ANSWERS.items()}
    classes = answers[TargetKind.CLASSIFICATION]
    assert classes["predicted"].tolist() == ["a", "b"]
    assert classes["label_probability"].tolist() == pytest.approx([0.1, 0.0])
    assert LIVE_ANSWERS[TargetKind.CLASSIFICATION](output_NC, rows[[]], scorer)["label_probability"].tolist() == [0, 0]
    assert answers[TargetKind.MULTILABEL].to_numpy().tolist() == [[True, False], [True, True]]
    assert list(answers[TargetKind.REGRESSION].columns) == ["w", "h"]
    assert len({frozenset(_types(table)) for table in answers.values()}) == len(TargetKind)
