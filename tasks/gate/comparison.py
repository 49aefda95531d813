"""Candidate against live on the same images, as checks of the gate.

Shapes: N images, C classes of either model, L labels and K targets that both models know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.core.schema import HAS, TARGET, Column, Metric
from tasks.data.slices import slices_of
from tasks.gate import checks as gate
from tasks.gate.checks import Check, Verdict
from tasks.gate.paired_tests import PairedScores, least_images
from tasks.metrics import classification as metrics
from tasks.metrics.multilabel import label_macro_f1

MEASURES = {"macro_f1": metrics.macro_f1, "nll": metrics.nll}
MIN_IMAGES = 8  # for a bootstrap of errors
AUTO = "auto"  # accuracy; for targets, the mean absolute error


@dataclass(frozen=True)
class GateCriteria:
    """The metric to compare, the loss that is tolerated overall and per group, and the error probability."""

    metric: str
    margin: float
    error: float
    group_margin: float
    resamples: int


def compare_classes(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, criteria: GateCriteria, slices: Sequence[str]
) -> list[Check]:
    """Compares two classifiers on the images whose class both know.

    `rows` are the manifest's, (N); `ours` and `live` hold their probabilities, (N, C), a column a class.
    """
    shared_N = (rows[Column.LABEL].isin(ours.columns) & rows[Column.LABEL].isin(live.columns)).to_numpy()
    if not shared_N.any():
        return [Check("against live", "no class in common", "images that both can answer", Verdict.UNDECIDED)]
    rows, ours, live = (table[shared_N].reset_index(drop=True) for table in (rows, ours, live))
    truth = rows[Column.LABEL]
    hits = PairedScores(*((table.idxmax(axis=1) == truth).to_numpy(float) for table in (ours, live)))
    groups = {f"class {name}": (truth == name).to_numpy(bool) for name in sorted(truth.unique())}
    pairs = {name: hits.subset(inside_N) for name, inside_N in (groups | dict(slices_of(rows, slices))).items()}
    return [
        _compare_all_classes(truth, ours, live, hits, criteria),
        *gate.compare_groups(pairs, criteria.group_margin, criteria.error),
    ]


def _compare_all_classes(
    truth: pd.Series, ours: pd.DataFrame, live: pd.DataFrame, hits: PairedScores, criteria: GateCriteria
) -> Check:
    metric = Metric.ACCURACY if criteria.metric == AUTO else Metric(criteria.metric)
    what = f"{metric} against live, {len(truth)} images"
    if metric is Metric.ACCURACY:
        return gate.compare_hits(hits, criteria.margin, criteria.error, what)
    classes = sorted({*ours.columns, *live.columns})
    p_NC, q_NC = (table.reindex(columns=classes, fill_value=0.0).to_numpy() for table in (ours, live))
    y_N = pd.Categorical(truth, classes).codes.astype(np.int64)
    measure, sign = MEASURES[metric], 1 if metric.higher_is_better else -1

    def gain(at: np.ndarray) -> float:
        return sign * (measure(p_NC[at], y_N[at]) - measure(q_NC[at], y_N[at]))

    least = least_images(criteria.margin, criteria.error)
    return gate.compare_scores(gain, len(truth), criteria.margin, criteria.error, criteria.resamples, 0, what, least)


def compare_labels(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, criteria: GateCriteria, slices: Sequence[str]
) -> list[Check]:
    """Compares two multi-label models on the labels that both know; an answer is right if all its labels are.

    `ours` and `live` say which labels are predicted, (N, L) bool, a column a label.
    """
    names = [name for name in ours.columns if name in live.columns and f"{HAS}{name}" in rows]
    if not names:
        return [Check("against live", "no label in common", "labels that both know", Verdict.UNDECIDED)]
    truth_NL = rows[[f"{HAS}{name}" for name in names]].to_numpy(float) > 0.5
    predicted = [table[names].to_numpy(bool) for table in (ours, live)]
    right = [predicted_NL == truth_NL for predicted_NL in predicted]
    hits = PairedScores(*(right_NL.all(1).astype(float) for right_NL in right))
    pairs = _pairs_by_label(names, truth_NL, right)
    pairs |= {name: hits.subset(inside_N) for name, inside_N in slices_of(rows, slices)}
    return [
        _compare_all_labels(predicted, truth_NL, hits, criteria),
        *gate.compare_groups(pairs, criteria.group_margin, criteria.error),
    ]


def _pairs_by_label(names: Sequence[str], truth_NL: np.ndarray, right: Sequence[np.ndarray]) -> dict[str, PairedScores]:
    """Returns the hits for each label, on the images that have it and on those that do not.

    Separately, because a rare label that is never predicted costs hardly any accuracy over all images.
    """
    pairs = {}
    for place, name in enumerate(names):
        has_N, hits = truth_NL[:, place], PairedScores(*(right_NL[:, place].astype(float) for right_NL in right))
        pairs[f"images with label {name}"] = hits.subset(has_N)
        pairs[f"images without label {name}"] = hits.subset(~has_N)
    return {name: pair for name, pair in pairs.items() if len(pair.live_N)}


def _compare_all_labels(
    predicted: Sequence[np.ndarray], truth_NL: np.ndarray, hits: PairedScores, criteria: GateCriteria
) -> Check:
    count = len(truth_NL)
    if criteria.metric in {AUTO, Metric.ACCURACY}:
        what = f"exactly the right labels, against live, {count} images"
        return gate.compare_hits(hits, criteria.margin, criteria.error, what)
    what = f"{criteria.metric} against live, {count} images"
    if criteria.metric != Metric.MACRO_F1:
        return Check(what, "not known of labels that are given or not", "gate.metric: auto", Verdict.UNDECIDED)

    def gain(at: np.ndarray) -> float:
        ours, live = (label_macro_f1(predicted_NL[at], truth_NL[at]) for predicted_NL in predicted)
        return ours - live

    least = least_images(criteria.margin, criteria.error)
    return gate.compare_scores(gain, count, criteria.margin, criteria.error, criteria.resamples, 0, what, least)


def compare_values(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, criteria: GateCriteria, slices: Sequence[str]
) -> list[Check]:
    """Compares two regression models on the targets that both know, by absolute errors.

    `ours` and `live` hold the predictions, (N, K), a column a target. Each target's error is in units of live's mean
    error, at least a thousandth of the target's standard deviation; so margins are fractions of that.
    """
    names = [name for name in ours.columns if name in live.columns]
    if not names:
        return [Check("against live", "no target in common", "values that both give", Verdict.UNDECIDED)]
    true_NK = rows[[f"{TARGET}{name}" for name in names]].to_numpy(float)
    ours_NK, live_NK = (np.abs(table[names].to_numpy(float) - true_NK) for table in (ours, live))
    std_K = true_NK.std(0)
    unit_K = np.maximum(live_NK.mean(0), np.where(std_K > 0, 1e-3 * std_K, 1e-12))
    gain_N = ((live_NK - ours_NK) / unit_K).mean(1)
    gains = {name: gain_N[inside_N] for name, inside_N in slices_of(rows, slices)}
    return [
        _compare_all_values(gain_N, criteria),
        *gate.compare_gains(gains, criteria.group_margin, criteria.error),
    ]


def _compare_all_values(gain_N: np.ndarray, criteria: GateCriteria) -> Check:
    def gain(at: np.ndarray) -> float:
        return float(gain_N[at].mean())

    count, margin, error = len(gain_N), criteria.margin, criteria.error
    what = f"{Metric.MAE} against live, {count} images, relative"
    return gate.compare_scores(gain, count, margin, error, criteria.resamples, 0, what, MIN_IMAGES)
