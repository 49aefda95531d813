"""Evaluation where an image may have several labels, or none. Shapes: V validation images, N test images, C labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from tasks.core.files import replacing, write_text
from tasks.core.paths import Paths
from tasks.core.schema import HIGH, LOW, VALUE, Column, Metric
from tasks.data.slices import slices_of
from tasks.evaluation.classification import Table, interval_text, table_part
from tasks.metrics.classification import label_macro_f1, with_intervals
from tasks.reports import pictures
from tasks.reports.page import Part, page
from tasks.scorer.scorer import joined


def thresholds_for(probability_VC: np.ndarray, y_VC: np.ndarray) -> np.ndarray:
    """The threshold of each label with the best F1 on validation, (C,), between two probabilities that occur.

    A half for a label that no validation image has; the one nearest a half where several are best.
    """
    return np.array([_best_threshold(p_V, y_V > 0.5) for p_V, y_V in zip(probability_VC.T, y_VC.T, strict=True)])


def _best_threshold(probability_V: np.ndarray, true_V: np.ndarray) -> float:
    if not true_V.any():
        return 0.5
    order_V = np.argsort(-probability_V)
    sorted_V, hits_V = probability_V[order_V], np.cumsum(true_V[order_V])
    f1_V = 2 * hits_V / (np.arange(1, len(order_V) + 1) + true_V.sum())  # with the first, the first two, ... given
    below_V = np.append(sorted_V[1:], 0.0)
    best = (f1_V >= f1_V[sorted_V > below_V].max() - 1e-12) & (sorted_V > below_V)
    if (best & (below_V < 0.5) & (sorted_V >= 0.5)).any():
        return 0.5
    middle = ((sorted_V + below_V) / 2)[best]
    return float(middle[np.abs(middle - 0.5).argmin()])


def exact(given_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The fraction of images whose labels are all given, and no others."""
    return float((given_NC == (y_NC > 0.5)).all(1).mean())


def nll(probability_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The mean over labels and images of the negative log-likelihood, in nats."""
    likely_NC = np.where(y_NC > 0.5, probability_NC, 1 - probability_NC).astype(np.float64)
    return float(-np.log(np.maximum(likely_NC, 1e-12)).mean())


def mean_average_precision(probability_NC: np.ndarray, y_NC: np.ndarray) -> float:
    """The mean of the average precision of the labels that some image has."""
    from sklearn.metrics import average_precision_score

    present_C = (y_NC > 0.5).any(0)
    if not present_C.any():
        return 0.0
    return float(average_precision_score(y_NC[:, present_C] > 0.5, probability_NC[:, present_C], average="macro"))


def label_scores(
    probability_NC: np.ndarray, y_NC: np.ndarray, threshold_C: np.ndarray, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Every metric with its 95% interval."""
    measures: dict[Metric, Callable[[np.ndarray, np.ndarray], float]] = {
        Metric.ACCURACY: partial(_of_given, exact, threshold_C),
        Metric.MACRO_F1: partial(_of_given, label_macro_f1, threshold_C),
        Metric.MAP: mean_average_precision,
        Metric.NLL: nll,
    }
    return with_intervals(measures, probability_NC, y_NC, resamples, seed)


def _of_given(
    measure: Callable[[np.ndarray, np.ndarray], float],
    threshold_C: np.ndarray,
    probability_NC: np.ndarray,
    y_NC: np.ndarray,
) -> float:
    return measure(probability_NC >= threshold_C, y_NC)


def write_labels(
    paths: Paths,
    test: pd.DataFrame,
    labels: Sequence[str],
    probability_NC: np.ndarray,
    y_NC: np.ndarray,
    threshold_C: np.ndarray,
    table: Table,
    robust: pd.DataFrame,
    columns: Sequence[str],
    wrong: int,
) -> None:
    """Writes predictions, tables, pictures and the page."""
    given_NC, true_NC = probability_NC >= threshold_C, y_NC > 0.5
    sure_N = np.where(given_NC, probability_NC, 1 - probability_NC).min(1)
    answer = {
        Column.PREDICTED: [joined(labels, given) for given in given_NC],
        Column.PROBABILITY: sure_N,
        Column.DISTRIBUTION: list(probability_NC),
    }
    rows = test[[Column.PATH, Column.LABEL]].assign(**answer)
    with replacing(paths.predictions) as beside:
        rows.to_parquet(beside, index=False)
    with replacing(paths.per_class) as beside:
        per_label(labels, given_NC, true_NC, threshold_C).to_csv(beside, float_format="%.4f")
    right_N = (given_NC == true_NC).all(1)
    parts = [
        (n, int(i.sum()), right_N[i.fillna(value=False).to_numpy(bool)].mean()) for n, i in slices_of(test, columns)
    ]
    with replacing(paths.slices) as beside:
        pd.DataFrame(parts, columns=["slice", "images", "accuracy"]).to_csv(beside, index=False, float_format="%.4f")
    with replacing(paths.robustness) as beside:
        robust.to_csv(beside, index=False, float_format="%.4f")
    exactly = {name: row[Metric.ACCURACY] for name, row in table.items()}
    percents = {name: (100 * at[VALUE], 100 * at[LOW], 100 * at[HIGH]) for name, at in exactly.items()}
    pictures.candidates(paths.comparison, percents, "test images with exactly their labels, %", most=100)
    lines = paths.curves.read_text(encoding="utf-8").splitlines()
    pictures.curves(paths.curves_picture, [json.loads(line) for line in lines])
    errors = rows[~right_N].sort_values(Column.PROBABILITY, ascending=False).head(wrong)
    answers = zip(errors[Column.LABEL], errors[Column.PREDICTED], strict=True)
    captions = [f"{label or 'none'}, not\n{predicted or 'none'}" for label, predicted in answers]
    pictures.thumbnails(paths.wrong, [paths.raw / path for path in errors[Column.PATH]], captions)
    _write_page(paths, table)


def per_label(
    labels: Sequence[str], given_NC: np.ndarray, true_NC: np.ndarray, threshold_C: np.ndarray
) -> pd.DataFrame:
    """Precision, recall, F1, support and threshold of each label."""
    hits, given, support = (given_NC & true_NC).sum(0), given_NC.sum(0), true_NC.sum(0)
    columns = {
        "precision": hits / np.maximum(given, 1),
        "recall": hits / np.maximum(support, 1),
        "f1": 2 * hits / np.maximum(given + support, 1),
        "support": support,
        "threshold": threshold_C,
    }
    return pd.DataFrame(columns, index=pd.Index(labels, name="label"))


def _write_page(paths: Paths, table: Table) -> None:
    metrics = list(next(iter(table.values())))
    columns = ["model", *(metric.replace("_", " ") for metric in metrics)]
    rows = [[name, *(interval_text(row[metric]) for metric in metrics)] for name, row in table.items()]
    parts = [
        Part(
            text="Accuracy: images with exactly their labels. In brackets: 95% intervals, Wilson's or a bootstrap's.",
            columns=columns,
            rows=rows,
        ),
        Part("From scratch, frozen or fine-tuned: the same number of optimiser steps", picture=paths.comparison),
        Part("Training", picture=paths.curves_picture),
        table_part("Labels", paths.per_class),
        Part("Test images with other labels than theirs, the surest first", picture=paths.wrong),
        table_part("Slices", paths.slices, "none were asked for (evaluate.slices)"),
        table_part("Under shift, scale, flip, rotation, noise, blur and JPEG", paths.robustness),
        Part("Some training images and their views", picture=paths.preview),
    ]
    write_text(paths.results_page, page("Results on the test split", parts))
