"""Evaluation of multi-label models. Shapes: N test images, C labels, B batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tasks.core.paths import Paths
from tasks.core.schema import Candidate, Column, Metric
from tasks.evaluation import report
from tasks.evaluation.candidates import EvaluationInput, EvaluationResult, Table
from tasks.evaluation.predictions_table import with_answers, write_probabilities
from tasks.evaluation.robustness import score_under_corruptions
from tasks.metrics.multilabel import label_scores, thresholds_for
from tasks.reports.page import PageSection
from tasks.scorer.labels import join_labels

INTERVALS = (
    "Accuracy: images with exactly the right labels. In brackets: 95% intervals over the test images; Wilson for "
    "accuracy, else Student's t with one more image. mAP has none, and NLL none with fewer than ten wrong images."
)


def evaluate_multilabel(case: EvaluationInput) -> EvaluationResult:
    """Chooses each candidate's per-label thresholds on validation, scores on test and writes the report."""
    encode, y_NC = case.target.encode, case.target.encode(case.test)
    threshold = {
        name: thresholds_for(logits.calibration.sigmoid().numpy(), encode(logits.rows))
        for name, logits in case.outputs.items()
    }
    on_test = {name: logits.test.sigmoid().numpy() for name, logits in case.outputs.items()}
    table: Table = {name: label_scores(p_NC, y_NC, threshold[name]) for name, p_NC in on_test.items()}
    threshold_C = threshold[Candidate.TUNED]
    tuned_threshold_C = torch.from_numpy(threshold_C)

    def exact_hits(logits_BC: Tensor, y_BC: Tensor) -> Tensor:
        return ((logits_BC.sigmoid() >= tuned_threshold_C) == (y_BC > 0.5)).all(1).double()

    write_answers(case, on_test[Candidate.TUNED], y_NC, threshold_C)
    report.write_table(case.paths.robustness, score_under_corruptions(case, Metric.ACCURACY, exact_hits))
    label = "test images with exactly the right labels, %"
    report.draw_candidates(case.paths, table, Metric.ACCURACY, label, percent=True)
    report.write_page(case, table, INTERVALS, page_sections(case.paths))
    return EvaluationResult(table, label_thresholds=threshold_C.tolist())


def write_answers(case: EvaluationInput, probability_NC: np.ndarray, y_NC: np.ndarray, threshold_C: np.ndarray) -> None:
    """Writes the tuned model's predictions, scores by label and slice, and worst predictions.

    Probabilities and labels are (N, C), thresholds (C,).
    """
    paths, labels = case.paths, case.target.classes
    predicted_NC, true_NC = probability_NC >= threshold_C, y_NC > 0.5
    hit_N = (predicted_NC == true_NC).all(1)
    confidence_N = np.where(predicted_NC, probability_NC, 1 - probability_NC).min(1)
    predicted = [join_labels(labels, predicted_C) for predicted_C in predicted_NC]
    rows = with_answers(case.test, predicted, confidence_N)
    write_probabilities(paths, rows, [probability_NC], labels)
    report.write_table(paths.per_class, per_label(labels, predicted_NC, true_NC, threshold_C), index=True)
    report.write_slices(case, hit_N, Metric.ACCURACY)
    wrong = report.most_confident(rows, hit_N, case.section.wrong)
    answers = zip(wrong[Column.LABEL], wrong[Column.PREDICTED], strict=True)
    captions = [f"{label or 'none'}, not\n{answer or 'none'}" for label, answer in answers]
    report.draw_images(paths, wrong[Column.PATH], captions)


def page_sections(paths: Paths) -> list[PageSection]:
    """Returns the page sections specific to multi-label models."""
    return [
        report.classes_section("Labels", paths.per_class),
        PageSection("Wrong answers with the highest probability", picture=paths.wrong),
        report.slices_section(paths),
        report.table_section("Robustness to shift, scale, flip, rotation, noise, blur and JPEG", paths.robustness),
    ]


def per_label(
    labels: Sequence[str], predicted_NC: np.ndarray, true_NC: np.ndarray, threshold_C: np.ndarray
) -> pd.DataFrame:
    """Returns precision, recall, F1, support and threshold of each label, from (N, C) bool and (C,)."""
    hits, predicted, support = (predicted_NC & true_NC).sum(0), predicted_NC.sum(0), true_NC.sum(0)
    columns = {
        "precision": hits / np.maximum(predicted, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(predicted + support, 1),
        "support": support,
        "threshold": threshold_C,
    }
    return pd.DataFrame(columns, index=pd.Index(labels, name="label"))
