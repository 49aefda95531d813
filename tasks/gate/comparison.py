"""Compares a candidate with the live model on the same images, by target kind. Returns checks of the gate.

Shapes: N images, M of a group, L labels or K targets shared by both models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.core.schema import HAS, LABEL_PROBABILITY, TARGET, Column, Metric
from tasks.data.slices import slices_of
from tasks.gate.checks import Check, Verdict, compare_gains, compare_groups, compare_hits, compare_means, difference
from tasks.gate.f1_gains import PairedPredictions, f1_bounds
from tasks.gate.paired_tests import PairedScores
from tasks.gate.power import images_to_refuse_gains, images_to_refuse_hits, note_groups, note_images
from tasks.metrics.classification import nll_per_image
from tasks.metrics.f1 import label_memberships, memberships
from tasks.metrics.intervals import MIN_WRONG

MIN_IMAGES = 8  # minimum for comparing regression errors
AUTO = "auto"  # accuracy, or the mean absolute error for regression


@dataclass(frozen=True)
class GateCriteria:
    """The metric, the tolerated loss overall and per group, and the error probability."""

    metric: str
    margin: float
    error: float
    group_margin: float


def compare_classes(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, criteria: GateCriteria, slices: Sequence[str]
) -> list[Check]:
    """Compares two classifiers on the images whose class both models include.

    `rows` are N rows of the manifest; `ours` and `live` are from `class_answers`.
    """
    shared = shared_classes(ours, live)
    shared_N = rows[Column.LABEL].isin(shared).to_numpy()
    if not shared_N.any():
        return [Check("against live", "no class in common", "images of a class of both models", Verdict.UNDECIDED)]
    rows, ours, live = (table[shared_N].reset_index(drop=True) for table in (rows, ours, live))
    label_N = rows[Column.LABEL].to_numpy(object)
    hits = PairedScores(
        *((table[Column.PREDICTED].to_numpy(object) == label_N).astype(float) for table in (ours, live))
    )
    by_class = pd.Series(range(len(label_N))).groupby(label_N).indices
    groups = {f"class {name}": by_class[name] for name in sorted(map(str, by_class))} | dict(slices_of(rows, slices))
    pairs = {name: hits.subset(inside) for name, inside in groups.items()}
    absent = [f"class {name}" for name in shared if name not in by_class]
    overall = _compare_all_classes(label_N, ours, live, hits, criteria)
    return [*_with_note(overall, hits, criteria), *_check_groups(pairs, absent, criteria)]


def _with_note(overall: Check, hits: PairedScores, criteria: GateCriteria) -> list[Check]:
    """Returns the check, and, if it compares hits on too few images for an equal model to pass, a note."""
    by_hits = criteria.metric in {AUTO, Metric.ACCURACY}
    return [overall, *note_images(overall, len(hits.live_N), criteria.margin, criteria.error)] if by_hits else [overall]


def _check_groups(pairs: Mapping[str, PairedScores], absent: Sequence[str], criteria: GateCriteria) -> list[Check]:
    """Returns a check for each group that has fallen, and a note on those that are too small to be refused.

    `absent`: names of groups without test images.
    """
    margin, error = criteria.group_margin, criteria.error
    sizes = dict.fromkeys(absent, 0) | {name: len(pair.live_N) for name, pair in pairs.items()}
    needed, refused = images_to_refuse_hits(len(pairs), margin, error), compare_groups(pairs, margin, error)
    return refused or note_groups(sizes, needed)  # beside refused groups, small ones can be refused too


def shared_classes(ours: pd.DataFrame, live: pd.DataFrame) -> list[str]:
    """Returns the classes of both models, in the order of ours."""
    theirs = set(live[Column.PREDICTED].cat.categories)
    return [name for name in ours[Column.PREDICTED].cat.categories if name in theirs]


def _compare_all_classes(
    label_N: np.ndarray, ours: pd.DataFrame, live: pd.DataFrame, hits: PairedScores, criteria: GateCriteria
) -> Check:
    metric = Metric.ACCURACY if criteria.metric == AUTO else Metric(criteria.metric)
    what = f"{metric} against live, {len(label_N)} images"
    if metric is Metric.ACCURACY:
        return compare_hits(hits, criteria.margin, criteria.error, what)
    if metric is Metric.MACRO_F1:
        answers = [table[Column.PREDICTED] for table in (ours, live)]
        classes = sorted(set().union(*(answer.cat.categories for answer in answers)))
        numbers = [pd.Index(classes).get_indexer(np.asarray(each, object)) for each in (*answers, label_N)]
        predictions = PairedPredictions(*(memberships(class_N, len(classes)) for class_N in numbers))
        return _compare_f1(predictions, criteria, what, exclusive=True)
    ours_N, live_N = (nll_per_image(table[LABEL_PROBABILITY].to_numpy()) for table in (ours, live))
    gain_N = live_N - ours_N
    wrong = int(((hits.candidate_N < 1) | (hits.live_N < 1)).sum())
    if wrong < MIN_WRONG:
        gain = round(float(gain_N.mean()), 4) + 0.0  # + 0.0 turns -0.0 into 0.0
        required = f"{MIN_WRONG} images that either model gets wrong"
        return Check(what, f"{gain:+.4f}, {wrong} wrong", required, Verdict.UNDECIDED)
    return compare_means(gain_N, criteria.margin, criteria.error, what)


def _compare_f1(pair: PairedPredictions, criteria: GateCriteria, what: str, *, exclusive: bool) -> Check:
    low, high = f1_bounds(pair, criteria.error, exclusive=exclusive)
    return difference(what, low, high, float(pair.gains().mean()), criteria.margin, criteria.error)


def compare_labels(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, criteria: GateCriteria, slices: Sequence[str]
) -> list[Check]:
    """Compares two multi-label models on their shared labels; a prediction is correct if all its labels are.

    `rows` are N rows of the manifest; `ours` and `live` are predicted labels, (N, L) bool, with a column per label.
    """
    names = [name for name in ours.columns if name in live.columns and f"{HAS}{name}" in rows]
    if not names:
        return [Check("against live", "no label in common", "labels of both models", Verdict.UNDECIDED)]
    truth_NL = rows[[f"{HAS}{name}" for name in names]].to_numpy(float) > 0.5
    predicted = [table[names].to_numpy(bool) for table in (ours, live)]
    correct = [predicted_NL == truth_NL for predicted_NL in predicted]
    hits = PairedScores(*(correct_NL.all(1).astype(float) for correct_NL in correct))
    pairs = _pairs_by_label(names, truth_NL, correct)
    pairs |= {name: hits.subset(inside_N) for name, inside_N in slices_of(rows, slices)}
    overall = _compare_all_labels(predicted, truth_NL, hits, criteria)
    groups = {name: pair for name, pair in pairs.items() if len(pair.live_N)}
    absent = [name for name in pairs if name not in groups]
    return [*_with_note(overall, hits, criteria), *_check_groups(groups, absent, criteria)]


def _pairs_by_label(
    names: Sequence[str], truth_NL: np.ndarray, correct: Sequence[np.ndarray]
) -> dict[str, PairedScores]:
    """Returns each label's hits, separately for the images with and without the label.

    Over all images, never predicting a rare label would cost hardly any accuracy.
    """
    pairs = {}
    for index, name in enumerate(names):
        has_N, hits = truth_NL[:, index], PairedScores(*(each_NL[:, index].astype(float) for each_NL in correct))
        pairs[f"images with label {name}"] = hits.subset(has_N)
        pairs[f"images without label {name}"] = hits.subset(~has_N)
    return pairs


def _compare_all_labels(
    predicted: Sequence[np.ndarray], truth_NL: np.ndarray, hits: PairedScores, criteria: GateCriteria
) -> Check:
    count = len(truth_NL)
    if criteria.metric in {AUTO, Metric.ACCURACY}:
        what = f"exactly the right labels, against live, {count} images"
        return compare_hits(hits, criteria.margin, criteria.error, what)
    what = f"{criteria.metric} against live, {count} images"
    if criteria.metric != Metric.MACRO_F1:
        return Check(what, "not available for predicted labels", "gate.metric: auto", Verdict.UNDECIDED)

    predictions = PairedPredictions(*(label_memberships(table_NL) for table_NL in (*predicted, truth_NL)))
    return _compare_f1(predictions, criteria, what, exclusive=False)


def compare_values(
    rows: pd.DataFrame, ours: pd.DataFrame, live: pd.DataFrame, criteria: GateCriteria, slices: Sequence[str]
) -> list[Check]:
    """Compares two regression models on their shared targets, by absolute error.

    `ours` and `live` are predictions, (N, K), with a column per target. Each target's errors, and therefore the
    margins, are in units of the live model's mean error, or of a thousandth of the target's standard deviation if that
    is larger.
    """
    names = [name for name in ours.columns if name in live.columns]
    if not names:
        return [Check("against live", "no target in common", "targets of both models", Verdict.UNDECIDED)]
    true_NK = rows[[f"{TARGET}{name}" for name in names]].to_numpy(float)
    ours_NK, live_NK = (np.abs(table[names].to_numpy(float) - true_NK) for table in (ours, live))
    std_K = true_NK.std(0)
    unit_K = np.maximum(live_NK.mean(0), np.where(std_K > 0, 1e-3 * std_K, 1e-12))
    gain_N = ((live_NK - ours_NK) / unit_K).mean(1)
    gains = {name: gain_N[inside_N] for name, inside_N in slices_of(rows, slices)}
    needed = images_to_refuse_gains(len(gains), criteria.error)
    return [
        _compare_all_values(gain_N, criteria),
        *compare_gains(gains, criteria.group_margin, criteria.error),
        *note_groups({name: len(gain_M) for name, gain_M in gains.items()}, needed),
    ]


def _compare_all_values(gain_N: np.ndarray, criteria: GateCriteria) -> Check:
    count = len(gain_N)
    what = f"{Metric.MAE} against live, {count} images, relative"
    if count < MIN_IMAGES:
        return Check(what, f"{count} images", f"{MIN_IMAGES} images or more", Verdict.UNDECIDED)
    return compare_means(gain_N, criteria.margin, criteria.error, what)
