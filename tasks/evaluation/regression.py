"""What evaluation leaves of a model of numbers: R², errors with intervals, predicted against true, the largest errors.

Shapes: N test images, K targets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.core.files import replacing, write_text
from tasks.core.paths import Paths
from tasks.core.schema import ANSWER, HIGH, LOW, TARGET, VALUE, Candidate, Column, Metric
from tasks.data.slices import slices_of
from tasks.evaluation.classification import Table, interval_text, table_part
from tasks.metrics.regression import METRICS
from tasks.reports import pictures
from tasks.reports.diagrams import residuals
from tasks.reports.page import Part, page


def write_values(
    paths: Paths,
    test: pd.DataFrame,
    targets: Sequence[str],
    predicted: Mapping[Candidate, np.ndarray],
    table: Table,
    robust: pd.DataFrame,
    columns: Sequence[str],
    wrong: int,
) -> None:
    """Writes predictions, tables, pictures and the page."""
    tuned_NK = predicted[Candidate.TUNED]
    y_NK = test[[f"{TARGET}{name}" for name in targets]].to_numpy(float)
    answers = {f"{ANSWER}{name}": tuned_NK[:, place].astype(float) for place, name in enumerate(targets)}
    rows = test[[Column.PATH, *(f"{TARGET}{name}" for name in targets)]].assign(**answers)
    with replacing(paths.predictions) as beside:
        rows.to_parquet(beside, index=False)
    with replacing(paths.slices) as beside:
        slice_errors(test, np.abs(tuned_NK - y_NK).mean(1), columns).to_csv(beside, index=False, float_format="%.4g")
    with replacing(paths.robustness) as beside:
        robust.to_csv(beside, index=False, float_format="%.4g")
    errors = {name: row[Metric.MAE] for name, row in table.items()}
    pictures.candidates(
        paths.comparison, {name: (at[VALUE], at[LOW], at[HIGH]) for name, at in errors.items()}, "mean absolute error"
    )
    lines = paths.curves.read_text(encoding="utf-8").splitlines()
    pictures.curves(paths.curves_picture, [json.loads(line) for line in lines])
    residuals(paths.residuals, tuned_NK, y_NK, targets)
    _write_wrong(paths, test, targets, tuned_NK, y_NK, wrong)
    _write_page(paths, table)


def slice_errors(test: pd.DataFrame, error_N: np.ndarray, columns: Sequence[str]) -> pd.DataFrame:
    """A row a slice: its name, how many images, and the mean absolute error on them."""
    rows = [
        (name, int(inside.sum()), float(error_N[inside.fillna(value=False).to_numpy(bool)].mean()))
        for name, inside in slices_of(test, columns)
    ]
    return pd.DataFrame(rows, columns=["slice", "images", "mae"])


def _write_wrong(
    paths: Paths, test: pd.DataFrame, targets: Sequence[str], predicted_NK: np.ndarray, y_NK: np.ndarray, most: int
) -> None:
    """The largest errors, in units of each target's spread."""
    spread_K = np.maximum(y_NK.std(0), 1e-12)
    order = np.argsort(-(np.abs(predicted_NK - y_NK) / spread_K).max(1))[:most]
    captions = [
        "\n".join(
            f"{name} {y_NK[row, place]:.3g}, not {predicted_NK[row, place]:.3g}" for place, name in enumerate(targets)
        )
        for row in order
    ]
    pictures.thumbnails(paths.wrong, [paths.raw / path for path in test[Column.PATH].iloc[order]], captions)


def _write_page(paths: Paths, table: Table) -> None:
    columns = ["model", *(metric.value.replace("_", " ") for metric in METRICS)]
    rows = [[name, *(interval_text(row[metric], ".4g") for metric in METRICS)] for name, row in table.items()]
    parts = [
        Part(text="In brackets: 95% bootstrap intervals over the test images.", columns=columns, rows=rows),
        Part("From scratch, frozen or fine-tuned: the same number of optimiser steps", picture=paths.comparison),
        Part("Training", picture=paths.curves_picture),
        Part("Predicted against true", picture=paths.residuals),
        Part("The largest errors", picture=paths.wrong),
        table_part("Slices", paths.slices, "none were asked for (evaluate.slices)"),
        table_part("Under shift, scale, noise, blur and JPEG", paths.robustness, "none were asked for"),
        Part("Some training images and their views", picture=paths.preview),
    ]
    write_text(paths.results_page, page("Results on the test split", parts))
