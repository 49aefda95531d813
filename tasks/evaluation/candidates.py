"""Evaluation of the candidates' outputs on the test split: of one class an image, of several labels, and of targets.

Shapes: V validation images, N test images, M both, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tasks.core.files import replacing, write_json
from tasks.core.paths import Paths
from tasks.core.schema import VALUE, Candidate, Column, Metric
from tasks.evaluation.classification import Table, write_page, write_pictures, write_predictions
from tasks.evaluation.multilabel import write_labels
from tasks.evaluation.regression import write_values
from tasks.evaluation.requirements import refuse_attacks
from tasks.evaluation.robustness import under_corruptions
from tasks.evaluation.trust import write_trust
from tasks.metrics.answers import Answers, calibrated, selective
from tasks.metrics.classification import accuracy, scores
from tasks.metrics.intervals import with_intervals
from tasks.metrics.multilabel import label_scores, thresholds_for
from tasks.metrics.regression import value_scores
from tasks.scorer.answer import Scorer
from tasks.training.goal import Goal

Outputs = Mapping[Candidate, Tensor]  # (M, C) or (M, K) each, validation first
TURNING = ("flip", "rotation")  # corruptions that may change a target


@dataclass(frozen=True)
class Wanted:
    """What is asked of an evaluation: the sections `evaluate` and `adversaries` of params.yaml."""

    bins: int
    resamples: int
    wrong: int
    risk: float
    slices: Sequence[str]
    attacked: int
    corrupted: int
    corruptions: Mapping[str, Sequence[float]]
    adversaries: Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """What is to be rated: the candidates' outputs on validation and test, and the model that was tuned."""

    paths: Paths
    goal: Goal
    validation: pd.DataFrame
    test: pd.DataFrame
    outputs: Outputs
    probe: Scorer
    tuned: Scorer
    batch: int
    seed: int

    def robust(
        self,
        wanted: Wanted,
        strengths: Mapping[str, Sequence[float]],
        metric: Metric,
        measure: Callable[[Tensor, Tensor], Tensor],
    ) -> pd.DataFrame:
        """The tuned model under these corruptions, on some of the test images."""
        rows = some(self.test, wanted.corrupted)
        truth = self.goal.truth(rows)
        return under_corruptions(self.tuned, self.paths.raw, rows, truth, strengths, self.batch, metric, measure)


@dataclass(frozen=True)
class Rated:
    """Scores of the candidates, what the scorer must know of them, and more numbers for the report."""

    table: Table
    temperature: float = 1.0
    threshold: float = 0.0
    label_thresholds: Sequence[float] = ()
    more: dict[str, float] = field(default_factory=dict)


def rate(case: Case, wanted: Wanted) -> Rated:
    """Scores on test, after choosing on validation what there is to choose; writes tables and pictures."""
    refuse_attacks(wanted.attacked, case.test)
    if case.goal.targets:
        return rate_values(case, wanted)
    return rate_labels(case, wanted) if case.goal.several else rate_classes(case, wanted)


def rate_classes(case: Case, wanted: Wanted) -> Rated:
    """One class an image: calibrated on validation."""
    paths, test, classes = case.paths, case.test, case.goal.classes
    table: Table = {}
    answers: dict[Candidate, Answers] = {}
    y_V, y_N = case.goal.truth(case.validation).numpy(), case.goal.truth(test).numpy()
    for name, logits_MC in case.outputs.items():
        answers[name] = calibrated(logits_MC, y_V, y_N)
        raw_NC, scaled_NC = answers[name].raw_NC, answers[name].scaled_NC
        table[name] = scores(raw_NC, scaled_NC, y_N, wanted.bins, wanted.resamples, case.seed)
    if Candidate.TEACHER in answers:
        told_N = answers[Candidate.TEACHER].scaled_NC.argmax(1)
        for name, own in answers.items():
            agreement = {Metric.AGREEMENT: accuracy}
            table[name] |= with_intervals(agreement, own.scaled_NC, told_N, wanted.resamples, case.seed)
    chosen = answers[Candidate.TUNED]
    sure = selective(chosen, wanted.risk)
    write_json(paths.selective, sure)
    robust = case.robust(
        wanted, wanted.corruptions, Metric.ACCURACY, lambda logits_NC, y_N: (logits_NC.argmax(1) == y_N).double()
    )
    write_predictions(paths, test, classes, chosen.scaled_NC)
    write_pictures(paths, test, classes, chosen.scaled_NC, table, wanted.wrong)
    write_trust(paths, test, classes, answers, robust, wanted.slices, wanted.bins, sure)
    more = {"coverage": sure["coverage"], "risk": sure["risk"]}
    if wanted.attacked:
        more |= attacked(case, wanted)
    write_page(paths, table, sure)
    return Rated(table, chosen.temperature, sure["threshold"], more=more)


def attacked(case: Case, wanted: Wanted) -> dict[str, float]:
    """Accuracy under attack of the probe and the tuned model, as a table; the tuned one's for the report."""
    from tasks.evaluation.attacks import ALL, masked, robust_accuracy
    from tasks.images.loading import Squares

    rows = some(case.test, wanted.attacked)
    pictures = case.tuned.preprocessing
    squares = Squares(case.paths.raw, list(rows[Column.PATH]), pictures, memory=0)
    pixel_N3SS, y_N = pictures.centre(squares[range(len(rows))]), case.goal.truth(rows)
    tables = []
    for name, scorer in ((Candidate.PROBE, case.probe), (Candidate.TUNED, case.tuned)):
        found = robust_accuracy(scorer.network, pictures, pixel_N3SS, y_N, wanted.adversaries, case.batch, case.seed)
        tables.append(found.assign(model=name, warnings="; ".join(masked(found))))
    table = pd.concat(tables)
    with replacing(case.paths.attacks) as beside:
        table.to_csv(beside, index=False, float_format="%.4f")
    own = table[(table["model"] == Candidate.TUNED) & (table["attack"] == ALL)]
    return {"robust_accuracy": float(own["accuracy"].iloc[0])}


def rate_labels(case: Case, wanted: Wanted) -> Rated:
    """Several labels an image: the threshold of each is chosen on validation, for every candidate by itself."""
    y_VC, y_NC = (case.goal.truth(rows).numpy() for rows in (case.validation, case.test))
    probability = {name: logits_MC.sigmoid().numpy() for name, logits_MC in case.outputs.items()}
    threshold = {name: thresholds_for(p_MC[: len(y_VC)], y_VC) for name, p_MC in probability.items()}
    on_test = {name: p_MC[len(y_VC) :] for name, p_MC in probability.items()}
    table: Table = {
        name: label_scores(p_NC, y_NC, threshold[name], wanted.resamples, case.seed) for name, p_NC in on_test.items()
    }
    own_C = torch.from_numpy(threshold[Candidate.TUNED])
    robust = case.robust(
        wanted,
        wanted.corruptions,
        Metric.ACCURACY,
        lambda logits_NC, y_NC: ((logits_NC.sigmoid() >= own_C) == (y_NC > 0.5)).all(1).double(),
    )
    given = (case.goal.classes, on_test[Candidate.TUNED], y_NC, threshold[Candidate.TUNED])
    write_labels(case.paths, case.test, *given, table, robust, wanted.slices, wanted.wrong)
    return Rated(table, label_thresholds=threshold[Candidate.TUNED].tolist())


def rate_values(case: Case, wanted: Wanted) -> Rated:
    """Targets, beside always answering the training mean."""
    y_NK = case.goal.truth(case.test).numpy().astype(float)
    predicted = {Candidate.MEAN: np.tile(np.array(case.goal.mean_K), (len(case.test), 1))}
    predicted |= {name: values.numpy()[len(case.validation) :].astype(float) for name, values in case.outputs.items()}
    how = (case.goal.spread_K, wanted.resamples, case.seed)
    table: Table = {name: value_scores(of_NK, y_NK, *how) for name, of_NK in predicted.items()}
    strengths = {kind: own for kind, own in wanted.corruptions.items() if kind not in TURNING}
    robust = case.robust(wanted, strengths, Metric.MAE, lambda value_NK, y_NK: (value_NK - y_NK).abs().mean(1))
    write_values(case.paths, case.test, case.goal.targets, predicted, table, robust, wanted.slices, wanted.wrong)
    return Rated(table)


def some(test: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, drawn once and for all."""
    chosen = np.random.default_rng(0).permutation(len(test))[:most]
    return test.iloc[np.sort(chosen)]


def headline(goal: Goal) -> str:
    """What `told` tells."""
    if goal.several:
        return "exactly the right labels"
    return "mean absolute error" if goal.targets else "accuracy"


def told(row: Mapping[str, Mapping[str, float]]) -> str:
    """The first thing that one wants to know of a candidate."""
    return f"{row[Metric.MAE][VALUE]:.3g}" if Metric.MAE in row else f"{row[Metric.ACCURACY][VALUE]:.1%}"
