"""Inputs and results of an evaluation.

Shapes: V images that calibrate, N test images, M validation and test images, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from tasks.core.objective_sections import AdversariesSection
from tasks.core.paths import Paths
from tasks.core.schema import Candidate
from tasks.core.sections import EvaluateSection
from tasks.core.target import TargetSpec
from tasks.data.folds import choosing_half
from tasks.evaluation.scorers import TunedFile
from tasks.models.weights_file import read
from tasks.objectives.search_report import CalibratedBy, SearchReport
from tasks.scorer.answer import Scorer

Table = dict[Candidate, dict[str, dict[str, float]]]  # candidate, metric, value and interval


@dataclass(frozen=True)
class CandidateOutputs:
    """A candidate's outputs, (V, C) or (V, K), with their rows, to calibrate it by, and on test, (N, C) or (N, K)."""

    calibration: Tensor
    rows: pd.DataFrame
    test: Tensor


@dataclass(frozen=True)
class EvaluationInput:
    """The validation and test images, the candidates' outputs, two models as scorers, and the second one's file.

    `search`: how the tuned model's recipe was chosen; None if it was fixed.
    """

    paths: Paths
    target: TargetSpec
    validation: pd.DataFrame
    test: pd.DataFrame
    search: SearchReport | None
    outputs: Mapping[Candidate, CandidateOutputs]
    probe: Scorer
    tuned: Scorer
    tuned_file: TunedFile
    section: EvaluateSection
    adversaries: AdversariesSection
    batch: int
    seed: int


@dataclass(frozen=True)
class EvaluationResult:
    """The candidates' scores, the tuned model's calibration for its spec, and extra scores for the stage report."""

    table: Table
    temperature: float = 1.0
    threshold: float = 0.0
    label_thresholds: Sequence[float] = ()
    extra: Mapping[str, float] = field(default_factory=dict)


def divided(output_MC: Tensor, validation: pd.DataFrame) -> CandidateOutputs:
    """Divides outputs, (M, C) with validation first, into those that calibrate and those on test."""
    return CandidateOutputs(output_MC[: len(validation)], validation, output_MC[len(validation) :])


def chosen_apart(
    outputs: CandidateOutputs, validation: pd.DataFrame, search: SearchReport, out_of_fold: Path
) -> CandidateOutputs:
    """Returns the outputs of the searched model, calibrated by images that did not choose it.

    These are the other half of validation, or all of it with the outputs in the file `out_of_fold`.
    """
    if search.calibrated_by is CalibratedBy.OUT_OF_FOLD:
        return replace(outputs, calibration=read(out_of_fold)[0]["outputs"])
    half_V = choosing_half(validation)
    if half_V is None or search.calibrated_by is CalibratedBy.NOTHING:
        return outputs
    return replace(outputs, calibration=outputs.calibration[~half_V], rows=validation[~half_V].reset_index(drop=True))


def sample_rows(test: pd.DataFrame, count: int) -> pd.DataFrame:
    """Returns a fixed random sample of at most `count` rows, in their original order."""
    chosen = np.random.default_rng(0).permutation(len(test))[:count]
    return test.iloc[np.sort(chosen)]
