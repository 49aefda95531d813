"""Evaluation by target kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tasks.core.target import TargetKind
from tasks.evaluation.candidates import EvaluationInput, EvaluationResult
from tasks.evaluation.classification import evaluate_classification
from tasks.evaluation.multilabel import evaluate_multilabel
from tasks.evaluation.regression import evaluate_regression
from tasks.evaluation.requirements import check_attacks_supported

EVALUATORS: Mapping[TargetKind, Callable[[EvaluationInput], EvaluationResult]] = {
    TargetKind.CLASSIFICATION: evaluate_classification,
    TargetKind.MULTILABEL: evaluate_multilabel,
    TargetKind.REGRESSION: evaluate_regression,
}


def evaluate_candidates(case: EvaluationInput) -> EvaluationResult:
    """Scores the candidates on test and writes tables, plots and the page; calibrates only on validation.

    Raises ParamsError if the data does not support the requested attacks or slices.
    """
    check_attacks_supported(case.section.attacked, case.target.kind)
    return EVALUATORS[case.target.kind](case)
