"""Plots of the tuned classifier's uncertainty: reliability, ROC, risk over coverage, and corruptions."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tasks.core.schema import Candidate
from tasks.evaluation.candidates import EvaluationInput
from tasks.evaluation.robustness import AS_IS
from tasks.metrics.answers import Answers, OperatingPoint
from tasks.reports import diagrams


def write_uncertainty(
    case: EvaluationInput,
    answers: Mapping[Candidate, Answers],
    robust: pd.DataFrame,
    operating_point: OperatingPoint,
) -> None:
    """Writes the plots. `robust` is the table from `score_under_corruptions`."""
    paths, tuned = case.paths, answers[Candidate.TUNED]
    diagrams.reliability(paths.reliability, tuned.raw_NC, tuned.scaled_NC, tuned.y_N, case.section.bins)
    diagrams.roc_and_pr(paths.roc_pr, tuned.scaled_NC, tuned.y_N, case.target.classes)
    threshold, risk = operating_point["threshold"], operating_point["wanted_risk"]
    diagrams.risk_over_coverage(paths.risk_coverage, answers, threshold, risk)
    is_clean = robust["corruption"] == AS_IS
    clean = float(robust.loc[is_clean, "accuracy"].sum())
    rows = robust[~is_clean].to_dict("records")
    diagrams.robustness(paths.robustness_picture, [{str(k): v for k, v in row.items()} for row in rows], clean)
