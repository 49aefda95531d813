"""Evaluation where an image may have several labels, or none. Shapes: V validation images, N test images, C labels."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.core.files import replacing, write_text
from tasks.core.paths import Paths
from tasks.core.schema import HIGH, LOW, VALUE, Column, Metric
from tasks.data.slices import slices_of
from tasks.evaluation.classification import Table, interval_text, table_part
from tasks.metrics.multilabel import per_label
from tasks.reports import pictures
from tasks.reports.page import Part, page
from tasks.scorer.labels import joined


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
