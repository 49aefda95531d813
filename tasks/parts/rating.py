"""Evaluation of the candidates' outputs on the test split: of classes, and of targets.

Shapes: V validation images, N test images, M both, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from torch import Tensor

from tasks.parts.classification import Answers, calibrated, selective
from tasks.parts.files import write_json
from tasks.parts.goal import Goal
from tasks.parts.metrics import scores
from tasks.parts.names import VALUE, Candidate, Metric
from tasks.parts.paths import Paths
from tasks.parts.regression import value_scores, write_values
from tasks.parts.results import Table, write_page, write_pictures, write_predictions
from tasks.parts.robustness import under_corruptions
from tasks.parts.scorer import Scorer
from tasks.parts.trust import write_trust

Outputs = Mapping[Candidate, Tensor]  # (M, C) or (M, K) each, validation first


@dataclass(frozen=True)
class Wanted:
    """What is asked of an evaluation: the section `evaluate` of params.yaml."""

    bins: int
    resamples: int
    wrong: int
    risk: float
    slices: Sequence[str]
    corrupted: int
    corruptions: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Rated:
    """Scores of the candidates, what the scorer must know of them, and more numbers for the report."""

    table: Table
    temperature: float = 1.0
    threshold: float = 0.0
    more: dict[str, float] = field(default_factory=dict)


def rate_classes(
    paths: Paths,
    goal: Goal,
    validation: pd.DataFrame,
    test: pd.DataFrame,
    outputs: Outputs,
    tuned: Scorer,
    wanted: Wanted,
    batch: int,
    seed: int,
) -> Rated:
    """Calibrates on validation, scores on test, and writes tables and pictures."""
    table: Table = {}
    answers: dict[Candidate, Answers] = {}
    y_V, y_N = goal.truth(validation).numpy(), goal.truth(test).numpy()
    for name, logits_MC in outputs.items():
        answers[name] = calibrated(logits_MC, y_V, y_N)
        raw_NC, scaled_NC = answers[name].raw_NC, answers[name].scaled_NC
        table[name] = scores(raw_NC, scaled_NC, y_N, wanted.bins, wanted.resamples, seed)
    chosen = answers[Candidate.TUNED]
    sure = selective(chosen, wanted.risk)
    write_json(paths.selective, sure)
    tried = some(test, wanted.corrupted)
    robust = under_corruptions(
        tuned,
        paths.raw,
        tried,
        goal.truth(tried),
        wanted.corruptions,
        batch,
        Metric.ACCURACY,
        lambda logits_NC, y_N: (logits_NC.argmax(1) == y_N).double(),
    )
    write_predictions(paths, test, goal.classes, chosen.scaled_NC)
    write_pictures(paths, test, goal.classes, chosen.scaled_NC, table, wanted.wrong)
    write_trust(paths, test, goal.classes, answers, robust, wanted.slices, wanted.bins, sure)
    write_page(paths, table, sure)
    more = {"coverage": sure["coverage"], "risk": sure["risk"]}
    return Rated(table, chosen.temperature, sure["threshold"], more)


def rate_values(
    paths: Paths,
    goal: Goal,
    validation: pd.DataFrame,
    test: pd.DataFrame,
    outputs: Outputs,
    tuned: Scorer,
    wanted: Wanted,
    batch: int,
    seed: int,
) -> Rated:
    """Scores on test, beside always answering the training mean, and writes tables and pictures."""
    y_NK = goal.truth(test).numpy().astype(float)
    predicted = {Candidate.MEAN: np.tile(np.array(goal.mean_K), (len(test), 1))}
    predicted |= {name: values.numpy()[len(validation) :].astype(float) for name, values in outputs.items()}
    table: Table = {name: value_scores(of_NK, y_NK, wanted.resamples, seed) for name, of_NK in predicted.items()}
    tried = some(test, wanted.corrupted)
    strengths = {kind: own for kind, own in wanted.corruptions.items() if kind != "flip"}
    robust = under_corruptions(
        tuned,
        paths.raw,
        tried,
        goal.truth(tried),
        strengths,
        batch,
        Metric.MAE,
        lambda value_NK, y_NK: (value_NK - y_NK).abs().mean(1),
    )
    write_values(paths, test, goal.targets, predicted, table, robust, wanted.slices, wanted.wrong)
    return Rated(table)


def some(test: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly spread."""
    return test.iloc[:: -(-len(test) // most)] if most else test.iloc[:0]


def headline(goal: Goal) -> str:
    """What `told` tells."""
    return "mean absolute error" if goal.targets else "accuracy"


def told(row: Mapping[str, Mapping[str, float]]) -> str:
    """The first thing that one wants to know of a candidate."""
    return f"{row[Metric.MAE][VALUE]:.3g}" if Metric.MAE in row else f"{row[Metric.ACCURACY][VALUE]:.1%}"
