"""Inputs and results of an evaluation.

Shapes: V validation images, N test images, M = V + N, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from torch import Tensor

from tasks.core.objective_sections import AdversariesSection
from tasks.core.paths import Paths
from tasks.core.schema import Candidate
from tasks.core.sections import EvaluateSection
from tasks.core.target import TargetSpec
from tasks.scorer.answer import Scorer

Table = dict[Candidate, dict[str, dict[str, float]]]  # candidate, metric, value and interval


@dataclass(frozen=True)
class EvaluationInput:
    """The candidates' outputs, (M, C) or (M, K) each, validation first; the probe and the tuned model as scorers."""

    paths: Paths
    target: TargetSpec
    validation: pd.DataFrame
    test: pd.DataFrame
    outputs: Mapping[Candidate, Tensor]
    probe: Scorer
    tuned: Scorer
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


def sample_rows(test: pd.DataFrame, count: int) -> pd.DataFrame:
    """Returns a fixed random sample of at most `count` rows, in their original order."""
    chosen = np.random.default_rng(0).permutation(len(test))[:count]
    return test.iloc[np.sort(chosen)]
