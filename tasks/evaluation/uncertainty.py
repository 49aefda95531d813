"""Plots of the tuned classifier's uncertainty: reliability, ROC, risk over coverage, and corruptions.

Shapes: N test images, W plotted classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.core.schema import MAX_CLASSES_SHOWN, MAX_WORST_SHOWN, Candidate
from tasks.evaluation.candidates import EvaluationInput
from tasks.evaluation.robustness import AS_IS
from tasks.metrics.answers import Answers, OperatingPoint, Predictions
from tasks.metrics.classification import per_class
from tasks.reports import diagrams


def write_uncertainty(
    case: EvaluationInput,
    answers: Mapping[Candidate, Answers],
    robust: pd.DataFrame,
    operating_point: OperatingPoint,
) -> None:
    """Writes the plots. `robust` is the table from `score_under_corruptions`."""
    paths, tuned = case.paths, answers[Candidate.TUNED]
    diagrams.reliability(paths.reliability, tuned.raw, tuned.scaled, case.section.bins)
    worst = worst_classes(tuned.scaled, case.target.classes)
    probability_NW = np.concatenate([probability_BC[:, list(worst)] for probability_BC in tuned.probabilities()])
    diagrams.roc_and_pr(paths.roc_pr, probability_NW, tuned.scaled.y_N, worst)
    threshold, risk = operating_point["threshold"], operating_point["wanted_risk"]
    diagrams.risk_over_coverage(paths.risk_coverage, answers, threshold, risk)
    is_clean = robust["corruption"] == AS_IS
    clean = float(robust.loc[is_clean, "accuracy"].sum())
    rows = robust[~is_clean].to_dict("records")
    diagrams.robustness(paths.robustness_picture, [{str(k): v for k, v in row.items()} for row in rows], clean)


def worst_classes(predictions: Predictions, classes: Sequence[str]) -> dict[int, str]:
    """Returns the classes by number; of more than MAX_CLASSES_SHOWN, those of the test images with the lowest F1."""
    if len(classes) <= MAX_CLASSES_SHOWN:
        return dict(enumerate(classes))
    by_class = per_class(predictions.predicted_N, predictions.y_N, len(classes))
    order = np.argsort(np.where(by_class["support"] > 0, by_class["f1"], np.inf), kind="stable")
    return {int(number): classes[number] for number in order[:MAX_WORST_SHOWN]}
