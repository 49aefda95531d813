"""Evaluation of classifiers. Shapes: N test images, C classes, B batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from tasks.core.files import write_json
from tasks.core.schema import MAX_CLASSES_SHOWN, MAX_WORST_SHOWN, Candidate, Column, Metric
from tasks.evaluation import report
from tasks.evaluation.attacks import evaluate_attacks
from tasks.evaluation.candidates import EvaluationInput, EvaluationResult, Table
from tasks.evaluation.predictions_table import with_answers, write_probabilities
from tasks.evaluation.robustness import score_under_corruptions
from tasks.evaluation.uncertainty import write_uncertainty
from tasks.metrics.answers import Answers, OperatingPoint, Predictions, calibrate, choose_operating_point
from tasks.metrics.classification import confusion, hit_score, most_confused, per_class, scores
from tasks.metrics.selective import NO_THRESHOLD, min_images
from tasks.objectives.search_report import CalibratedBy
from tasks.reports import diagrams
from tasks.reports.page import PageSection

INTERVALS = (
    "In brackets: 95% intervals over the test images; Wilson for accuracy, else Student's t with one more image. ECE "
    "has none, and NLL none with fewer than ten wrong images."
)


def evaluate_classification(case: EvaluationInput) -> EvaluationResult:
    """Calibrates the candidates on validation, scores them on test and writes the report."""
    encode = case.target.encode
    answers = {
        name: calibrate(logits.calibration, encode(logits.rows), logits.test, encode(case.test))
        for name, logits in case.outputs.items()
    }
    table, tuned = score_table(case, answers), answers[Candidate.TUNED]
    operating_point = choose_operating_point(tuned, case.section.risk)
    write_json(case.paths.selective, operating_point)
    robust = score_under_corruptions(case, Metric.ACCURACY, _hits)
    write_answers(case, tuned)
    report.write_table(case.paths.robustness, robust)
    report.draw_candidates(case.paths, table, Metric.ACCURACY, "test accuracy, %", percent=True)
    write_uncertainty(case, answers, robust, operating_point)
    extra = {"coverage": operating_point["coverage"], "risk": operating_point["risk"]}
    if case.section.attacked:
        extra |= evaluate_attacks(case)
    report.write_page(case, table, INTERVALS, page_sections(case, operating_point))
    return EvaluationResult(table, tuned.temperature, operating_point["threshold"], extra=extra)


def _hits(logits_BC: Tensor, y_B: Tensor) -> Tensor:
    return (logits_BC.argmax(1) == y_B).double()


def score_table(case: EvaluationInput, answers: Mapping[Candidate, Answers]) -> Table:
    """Returns each candidate's metrics with intervals, and its agreement with the teacher if there is one."""
    classes, bins = len(case.target.classes), case.section.bins
    table: Table = {name: scores(answer.raw, answer.scaled, classes, bins) for name, answer in answers.items()}
    if Candidate.TEACHER in answers:
        teacher_N = answers[Candidate.TEACHER].scaled.predicted_N
        for name, answer in answers.items():
            table[name][Metric.AGREEMENT] = hit_score(answer.scaled.predicted_N == teacher_N)
    return table


def write_answers(case: EvaluationInput, tuned: Answers) -> None:
    """Writes the tuned model's predictions, scores by class and slice, confused classes, and worst predictions."""
    paths, classes, scaled = case.paths, case.target.classes, tuned.scaled
    predicted = [classes[index] for index in scaled.predicted_N]
    rows = with_answers(case.test, predicted, scaled.confidence_N, scaled.likelihood_N)
    write_probabilities(paths, rows, tuned.probabilities(), classes)
    report.write_slices(case, scaled.hit_N, Metric.ACCURACY)
    by_class = per_class(scaled.predicted_N, scaled.y_N, len(classes))
    report.write_table(paths.per_class, pd.DataFrame(by_class, index=pd.Index(classes, name="class")), index=True)
    draw_confusion(paths.confusion, scaled, classes)
    wrong = report.most_confident(rows, scaled.hit_N, case.section.wrong)
    cells = wrong[[Column.LABEL, Column.PREDICTED, Column.PROBABILITY]].itertuples(index=False)
    captions = [f"{label}, not\n{predicted} ({confidence:.0%})" for label, predicted, confidence in cells]
    report.draw_images(paths, wrong[Column.PATH], captions)


def draw_confusion(path: Path, predictions: Predictions, classes: Sequence[str]) -> None:
    """Draws the confusion matrix; of more than MAX_CLASSES_SHOWN classes, the most confused pairs."""
    predicted_N, y_N = predictions.predicted_N, predictions.y_N
    if len(classes) <= MAX_CLASSES_SHOWN:
        diagrams.confusion(path, confusion(predicted_N, y_N, len(classes)), classes)
        return
    support_C = np.bincount(y_N, minlength=len(classes))
    pairs = most_confused(predicted_N, y_N, MAX_WORST_SHOWN)
    texts = [f"{classes[true]} \N{RIGHTWARDS ARROW} {classes[predicted]}" for true, predicted, _ in pairs]
    shares = [(count, count / support_C[true]) for true, _, count in pairs]
    diagrams.confused_pairs(path, [(text, *share) for text, share in zip(texts, shares, strict=True)])


def page_sections(case: EvaluationInput, operating_point: OperatingPoint) -> list[PageSection]:
    """Returns the page sections specific to classification."""
    paths = case.paths
    cross_fitted = case.search is not None and case.search.calibrated_by is CalibratedBy.OUT_OF_FOLD
    answers = selective_text(operating_point, cross_fitted=cross_fitted)
    has_few = len(case.target.classes) <= MAX_CLASSES_SHOWN
    sections = [
        PageSection("Confusion matrix" if has_few else "The most confused classes", picture=paths.confusion),
        PageSection("Wrong answers with the highest probability", picture=paths.wrong),
        report.classes_section("Classes", paths.per_class),
        PageSection("Calibration", picture=paths.reliability),
        PageSection(
            "ROC, precision and recall" + ("" if has_few else " of the classes with the lowest F1"),
            picture=paths.roc_pr,
        ),
        PageSection('"Don\'t know": risk over coverage', answers, picture=paths.risk_coverage),
        report.slices_section(paths),
        PageSection(
            "Robustness to shift, scale, flip, rotation, noise, blur and JPEG", picture=paths.robustness_picture
        ),
    ]
    return (
        [*sections, report.table_section("Accuracy under attack", paths.attacks)]
        if paths.attacks.exists()
        else sections
    )


def selective_text(point: OperatingPoint, *, cross_fitted: bool) -> str:
    """Describes the threshold with its coverage and risk on the test split.

    `cross_fitted`: it rests on outputs of several models, each chosen without the image.
    """
    risk, images = point["wanted_risk"], point["validation_images"]
    if point["threshold"] == NO_THRESHOLD:
        return (
            f"No threshold keeps the risk at {risk:.1%} or less at the 95% confidence level on the {images} validation "
            f"images, so every prediction is marked as uncertain. It takes {min_images(risk)} images that the model "
            "gets right with the highest probabilities, or a higher evaluate.risk."
        )
    by = f"{'models chosen without each of ' if cross_fitted else ''}{images} validation images"
    return (
        f"The model answers if the probability is at least {point['threshold']:.3f}: by {by}, "
        f"at most {risk:.1%} of its answers are wrong, at the 95% confidence level. On test it answers for "
        f"{point['coverage']:.1%} of the images, and {point['risk']:.1%} of these answers are wrong."
    )
