"""Candidate against live on the same images, as checks of the gate. Shapes: N images, C classes of either model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.core.schema import HAS, TARGET, Column, Metric
from tasks.data.slices import slices_of
from tasks.gate import checks as gate
from tasks.gate.checks import Check, Pair, Verdict
from tasks.metrics import classification as metrics
from tasks.metrics.multilabel import label_macro_f1

MEASURES = {"macro_f1": metrics.macro_f1, "nll": metrics.nll}
LEAST = 8  # images whose values a bootstrap can compare
AUTO = "auto"  # accuracy; of targets, the mean absolute error


@dataclass(frozen=True)
class Terms:
    """How two models are compared: on which metric, how much may be lost, and how often that may be judged wrongly."""

    metric: str
    margin: float
    error: float
    group_margin: float
    resamples: int


def compare(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, terms: Terms, slices: Sequence[str]
) -> list[Check]:
    """The checks on the images whose class both models know.

    `rows` are the manifest's, `ours` and `live` have a probability for each of them and each class, by name.
    """
    known = (rows[Column.LABEL].isin(ours.columns) & rows[Column.LABEL].isin(live.columns)).to_numpy()
    if not known.any():
        return [Check("against live", "no class in common", "images that both can answer", Verdict.UNDECIDED)]
    rows, ours, live = (table[known].reset_index(drop=True) for table in (rows, ours, live))
    truth = rows[Column.LABEL]
    hits = Pair(*((table.idxmax(axis=1) == truth).to_numpy(float) for table in (ours, live)))
    groups = {f"class {name}": truth == name for name in sorted(truth.unique())} | dict(slices_of(rows, slices))
    masks = {name: inside.fillna(value=False).to_numpy(bool) for name, inside in groups.items()}
    pairs = {name: Pair(hits.candidate_N[at], hits.live_N[at]) for name, at in masks.items()}
    return [
        _overall(truth, ours, live, hits, terms),
        *gate.compare_groups(pairs, terms.group_margin, terms.error),
    ]


def _overall(truth: pd.Series, ours: pd.DataFrame, live: pd.DataFrame, hits: Pair, terms: Terms) -> Check:
    metric = Metric.ACCURACY if terms.metric == AUTO else Metric(terms.metric)
    what = f"{metric} against live, {len(truth)} images"
    if metric is Metric.ACCURACY:
        return gate.compare_hits(hits, terms.margin, terms.error, what)
    classes = sorted({*ours.columns, *live.columns})
    p_NC, q_NC = (table.reindex(columns=classes, fill_value=0.0).to_numpy() for table in (ours, live))
    y_N = pd.Categorical(truth, classes).codes.astype(np.int64)
    measure, sign = MEASURES[metric], 1 if metric.higher_is_better else -1

    def gain(at: np.ndarray) -> float:
        return sign * (measure(p_NC[at], y_N[at]) - measure(q_NC[at], y_N[at]))

    least = gate.least_images(terms.margin, terms.error)
    return gate.compare_scores(gain, len(truth), terms.margin, terms.error, terms.resamples, 0, what, least)


def compare_labels(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, terms: Terms, slices: Sequence[str]
) -> list[Check]:
    """The checks on several labels an image: `ours` and `live` say of each label, by name, whether it is given.

    An answer is right where it is exactly the labels that both know.
    """
    names = [name for name in ours.columns if name in live.columns and f"{HAS}{name}" in rows]
    if not names:
        return [Check("against live", "no label in common", "labels that both know", Verdict.UNDECIDED)]
    truth_NL = rows[[f"{HAS}{name}" for name in names]].to_numpy(float) > 0.5
    given = [table[names].to_numpy(bool) for table in (ours, live)]
    right = [given_NL == truth_NL for given_NL in given]
    hits = Pair(*(right_NL.all(1).astype(float) for right_NL in right))
    pairs = {}
    for place, name in enumerate(names):  # apart, as a rare label that is never given is hardly missed among all images
        has_N, (our_N, live_N) = truth_NL[:, place], (right_NL[:, place].astype(float) for right_NL in right)
        pairs[f"images with label {name}"] = Pair(our_N[has_N], live_N[has_N])
        pairs[f"images without label {name}"] = Pair(our_N[~has_N], live_N[~has_N])
    pairs = {name: pair for name, pair in pairs.items() if len(pair.live_N)}
    for name, inside in slices_of(rows, slices):
        at = inside.fillna(value=False).to_numpy(bool)
        pairs[name] = Pair(hits.candidate_N[at], hits.live_N[at])
    return [
        _overall_labels(given, truth_NL, hits, terms),
        *gate.compare_groups(pairs, terms.group_margin, terms.error),
    ]


def _overall_labels(given: Sequence[np.ndarray], truth_NL: np.ndarray, hits: Pair, terms: Terms) -> Check:
    count = len(truth_NL)
    if terms.metric in {AUTO, Metric.ACCURACY}:
        what = f"exactly the right labels, against live, {count} images"
        return gate.compare_hits(hits, terms.margin, terms.error, what)
    what = f"{terms.metric} against live, {count} images"
    if terms.metric != Metric.MACRO_F1:
        return Check(what, "not known of labels that are given or not", "gate.metric: auto", Verdict.UNDECIDED)

    def gain(at: np.ndarray) -> float:
        ours, live = (label_macro_f1(given_NL[at], truth_NL[at]) for given_NL in given)
        return ours - live

    least = gate.least_images(terms.margin, terms.error)
    return gate.compare_scores(gain, count, terms.margin, terms.error, terms.resamples, 0, what, least)


def compare_values(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, terms: Terms, slices: Sequence[str]
) -> list[Check]:
    """The checks on targets: `ours` and `live` have a value for each row and each target, by name.

    Errors are absolute, each target's in units of live's mean error, so margins are fractions of that; one below a
    thousandth of the target's spread counts as that.
    """
    names = [name for name in ours.columns if name in live.columns]
    if not names:
        return [Check("against live", "no target in common", "values that both give", Verdict.UNDECIDED)]
    true_NK = rows[[f"{TARGET}{name}" for name in names]].to_numpy(float)
    ours_NK, live_NK = (np.abs(table[names].to_numpy(float) - true_NK) for table in (ours, live))
    spread_K = true_NK.std(0)
    unit_K = np.maximum(live_NK.mean(0), np.where(spread_K > 0, 1e-3 * spread_K, 1e-12))
    gain_N = ((live_NK - ours_NK) / unit_K).mean(1)
    what = f"{Metric.MAE} against live, {len(rows)} images, relative"
    found = gate.compare_scores(
        lambda at: float(gain_N[at].mean()), len(rows), terms.margin, terms.error, terms.resamples, 0, what, LEAST
    )
    gains = {name: gain_N[inside.fillna(value=False).to_numpy(bool)] for name, inside in slices_of(rows, slices)}
    return [found, *gate.compare_gains(gains, terms.group_margin, terms.error)]
