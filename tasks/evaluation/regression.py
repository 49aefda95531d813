"""Evaluation of regression models. Shapes: N test images, K targets."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tasks.core.paths import Paths
from tasks.core.schema import ANSWER, TARGET, Candidate, Column, Metric
from tasks.core.target import TargetSpec
from tasks.evaluation import report
from tasks.evaluation.candidates import EvaluationInput, EvaluationResult, Table
from tasks.evaluation.predictions_table import write_predictions
from tasks.evaluation.robustness import score_under_corruptions
from tasks.metrics.headline import headline_of
from tasks.metrics.regression import target_scores, value_scores
from tasks.reports.diagrams import residuals
from tasks.reports.page import PageSection

INTERVALS = (
    "In brackets: 95% intervals over the test images; Student's t with one more image. Metrics of squared errors have "
    "none, since a few images decide over them. Errors of several targets are averaged in standard deviations of the "
    "training targets."
)
FLOATS = "%.4g"  # in tables: targets may have any unit
LABEL_CHANGING = ("flip", "rotation")  # corruptions that may change a target, such as an angle


def evaluate_regression(case: EvaluationInput) -> EvaluationResult:
    """Scores the candidates and a constant baseline, the training mean, on test, and writes the report."""
    y_NK = case.target.encode(case.test).astype(float)
    predicted = {Candidate.MEAN: np.tile(np.array(case.target.mean_K), (len(case.test), 1))}
    predicted |= {name: values.test.numpy().astype(float) for name, values in case.outputs.items()}
    table: Table = {name: value_scores(values_NK, y_NK, case.target.std_K) for name, values_NK in predicted.items()}
    headline = headline_of(case.target.kind, table[Candidate.TUNED])
    write_answers(case, predicted[Candidate.TUNED], headline.metric)
    robust = score_under_corruptions(case, headline.metric, partial(_errors, unit_of(case.target)), LABEL_CHANGING)
    report.write_table(case.paths.robustness, robust, FLOATS)
    report.draw_candidates(case.paths, table, headline.metric, headline.name, percent=False)
    report.write_page(case, table, INTERVALS, page_sections(case.paths), number_format=".4g")
    return EvaluationResult(table)


def unit_of(target: TargetSpec) -> Tensor:
    """Returns the units in which errors are averaged, (K,): standard deviations if there are several targets."""
    return torch.tensor(target.std_K if target.num_outputs > 1 else [1.0], dtype=torch.float64)


def _errors(unit_K: Tensor, value_BK: Tensor, y_BK: Tensor) -> Tensor:
    return ((value_BK - y_BK).abs() / unit_K).mean(1)


def write_answers(case: EvaluationInput, predicted_NK: np.ndarray, metric: Metric) -> None:
    """Writes the tuned model's predictions, (N, K), scores by target and slice, residuals, and the largest errors."""
    targets, columns = case.target.targets, [f"{TARGET}{name}" for name in case.target.targets]
    y_NK = case.test[columns].to_numpy(float)
    answers = {f"{ANSWER}{name}": predicted_NK[:, index] for index, name in enumerate(targets)}
    write_predictions(case.paths, case.test[[Column.PATH, *columns]].assign(**answers))
    by_target = pd.DataFrame.from_dict(target_scores(predicted_NK, y_NK, case.target.std_K, targets), orient="index")
    report.write_table(case.paths.per_target, by_target.rename_axis("target"), FLOATS, index=True)
    error_N = (np.abs(predicted_NK - y_NK) / unit_of(case.target).numpy()).mean(1)
    report.write_slices(case, error_N, metric, FLOATS)
    residuals(case.paths.residuals, predicted_NK, y_NK, targets)
    draw_errors(case, predicted_NK, y_NK)


def draw_errors(case: EvaluationInput, predicted_NK: np.ndarray, y_NK: np.ndarray) -> None:
    """Draws the images with the largest errors of predictions (N, K), in units of each target's standard deviation."""
    std_K = np.maximum(y_NK.std(0), 1e-12)
    order = np.argsort(-(np.abs(predicted_NK - y_NK) / std_K).max(1))[: case.section.wrong]
    captions = [
        "\n".join(
            f"{name} {y_NK[row, index]:.3g}, not {predicted_NK[row, index]:.3g}"
            for index, name in enumerate(case.target.targets)
        )
        for row in order
    ]
    report.draw_images(case.paths, case.test[Column.PATH].iloc[order], captions)


def page_sections(paths: Paths) -> list[PageSection]:
    """Returns the page sections specific to regression."""
    return [
        report.table_section("Targets", paths.per_target),
        PageSection("Predicted against true values", picture=paths.residuals),
        PageSection("The largest errors", picture=paths.wrong),
        report.slices_section(paths),
        report.table_section(
            "Under shift, scale, noise, blur and JPEG", paths.robustness, "none requested (evaluate.corrupted)"
        ),
    ]
