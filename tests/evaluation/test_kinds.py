from __future__ import annotations

import pytest
import torch

from tasks.core.target import TargetKind
from tasks.evaluation.answer_text import CAPTIONS, LINES
from tasks.evaluation.kinds import EVALUATORS
from tasks.evaluation.prediction_tables import SCHEMAS
from tasks.evaluation.requirements import ATTACKS_SUPPORTED
from tasks.metrics.headline import HEADLINES, headline_of
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import Network
from tasks.scorer.preprocessing import Preprocessing

PREPARE = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
SPECS = {
    TargetKind.CLASSIFICATION: spec_of("", ("cat", "dog"), PREPARE, threshold=0.9),
    TargetKind.MULTILABEL: spec_of("", ("cat", "dog"), PREPARE, label_thresholds=(0.5, 0.5)),
    TargetKind.REGRESSION: spec_of("", (), PREPARE, targets=("label", "probability")),
}
EXPECTED = {
    TargetKind.CLASSIFICATION: ("cat 73.1%  (below the confidence threshold); then dog 26.9%", "cat 73% ?"),
    TargetKind.MULTILABEL: ("cat; cat 73.1%, dog 50.0%", "cat 50%"),
    TargetKind.REGRESSION: ("label 1, probability -0.5", "label 1\nprobability -0.5"),
}
OUTPUTS = {
    TargetKind.CLASSIFICATION: torch.tensor([1.0, 0.0]),
    TargetKind.MULTILABEL: torch.tensor([1.0, -1e-3]),
    TargetKind.REGRESSION: torch.tensor([1.0, -0.5]),
}


@pytest.mark.parametrize("table", [EVALUATORS, ATTACKS_SUPPORTED, HEADLINES, SCHEMAS, LINES, CAPTIONS])
def test_every_table_knows_every_kind(table):
    assert set(table) == set(TargetKind)


@pytest.mark.parametrize("kind", TargetKind)
def test_a_prediction_is_formatted_by_kind_and_matches_its_columns(kind):
    scorer = Scorer(Network(torch.nn.Identity(), torch.nn.Identity()), SPECS[kind])
    row = scorer.row(OUTPUTS[kind])
    assert (LINES[kind](scorer, OUTPUTS[kind]), CAPTIONS[kind](row)) == EXPECTED[kind]
    assert set(SCHEMAS[kind](scorer).names) == {"path", "reason", *row}


@pytest.mark.parametrize(
    ("kind", "metric", "text"),
    [
        (TargetKind.CLASSIFICATION, "accuracy", "98.8%"),
        (TargetKind.MULTILABEL, "accuracy", "98.8%"),
        (TargetKind.REGRESSION, "mae", "0.988"),
        (TargetKind.REGRESSION, "scaled_mae", "0.988"),
    ],
)
def test_the_headline_is_the_mean_error_for_targets_and_accuracy_otherwise(kind, metric, text):
    assert headline_of(kind, [metric]).describe({metric: {"value": 0.98765}}) == text
