"""Above 40 classes: the likeliest in predictions, all probabilities apart, and the worst classes on the page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from flows.registry.kinds import DIFFERENCES, EVALUATED_ANSWERS
from flows.registry.register import MAX_PROOF_IMAGES, TOLERANCE
from tasks.core.files import read_json
from tasks.core.schema import LIKELIEST, PROBABILITIES, Column
from tasks.core.target import TargetKind, TargetSpec
from tasks.evaluation.batch_prediction import score_parts
from tasks.evaluation.prediction_tables import merge
from tasks.evaluation.predictions_table import read_predictions
from tasks.gate.class_answers import class_answers
from tasks.gate.comparison import GateCriteria, compare_classes
from tasks.scorer.answer import Scorer
from tests.drawn import write_hues
from tests.stages.contract import augmented, embedded, evaluated, headed, ingested, tuned

CLASSES = 60
COLUMNS = ["path", "label", "predicted", "probability", "label_probability"]  # permanent: stored tables contain them
COLUMNS += [f"{name}_{rank}" for rank in range(1, 6) for name in ("likeliest", "probability")]


@pytest.fixture
def hues(paths, tmp_path):
    """Returns paths with images of 60 classes, through evaluation."""
    paths = paths.model_copy(update={"raw": write_hues(tmp_path / "hues", CLASSES, {"train": 2, "val": 1, "test": 2})})
    ingested(paths), augmented(paths, views=1), embedded(paths, views=1), headed(paths)
    tuned(paths, scratch=False, epochs=0)
    evaluated(paths, corrupted=2)
    return paths


def test_many_classes_go_through_evaluation_gate_and_prediction(hues, tmp_path):
    rows, page = pd.read_parquet(hues.predictions), hues.results_page.read_text()
    assert list(rows.columns) == COLUMNS
    assert (rows["predicted"] == rows["likeliest_1"]).all()
    assert "The most confused classes" in page
    assert "The 20 with the lowest F1. 40 more are in per_class.csv." in page
    assert len(pd.read_csv(hues.per_class)) == CLASSES
    assert hues.confusion.read_bytes().startswith(b"\x89PNG")
    scorer = Scorer.load(hues.spec, hues.tuned)
    pictures = [(hues.raw / path).read_bytes() for path in rows[Column.PATH]]
    served_NC = scorer.probabilities(pictures).numpy()
    np.testing.assert_allclose(load_file(hues.probabilities)[PROBABILITIES], served_NC, atol=5e-4)
    np.testing.assert_allclose(rows["probability"], served_NC.max(1), atol=1e-5)
    proof(scorer, pictures, hues)
    compared(rows, served_NC, read_json(hues.spec))
    predicted(scorer, rows, hues, tmp_path)


def proof(scorer, pictures, hues):
    answers = pd.DataFrame([scorer.row(logits_C) for logits_C in scorer.logits(pictures)])
    stored = read_predictions(hues, MAX_PROOF_IMAGES)
    assert DIFFERENCES[TargetKind.CLASSIFICATION](answers, stored, TargetSpec.load(hues.task)) < TOLERANCE
    (fourth,) = [each for place, each in enumerate(read_predictions(hues, 30)["path"]) if place == 1]
    assert fourth == stored["path"].iloc[4]


def compared(rows, served_NC, spec):
    ours = EVALUATED_ANSWERS[TargetKind.CLASSIFICATION](rows, spec)
    live = class_answers(served_NC, rows[Column.LABEL], spec["classes"])
    pd.testing.assert_frame_equal(ours, live, check_dtype=False, atol=1e-5)
    for metric in ("auto", "nll", "macro_f1"):
        overall, *_, note = compare_classes(rows, ours, live, GateCriteria(metric, 0.5, 0.05, 0.1), [])
        assert overall.found.startswith("+0.0000")
        assert (note.verdict, "class hue 000 (2)" in note.found) == ("note", True)
        assert "and 57 more cannot be refused by themselves" in note.found


def predicted(scorer, rows, hues, tmp_path):
    list(score_parts(scorer, TargetKind.CLASSIFICATION, hues.raw, list(rows[Column.PATH]), tmp_path / "parts"))
    merge(tmp_path / "parts", tmp_path / "p.parquet", tmp_path / "p.csv")
    names = [name for pair in LIKELIEST for name in pair]
    for table in (pd.read_parquet(tmp_path / "p.parquet"), pd.read_csv(tmp_path / "p.csv")):
        assert list(table.columns) == ["path", "label", "probability", "confident", "reason", *names]
        assert list(table["label"]) == list(rows["predicted"])
        np.testing.assert_allclose(table["probability_5"], rows["probability_5"], atol=1e-5)
