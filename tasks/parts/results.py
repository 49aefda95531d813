"""What evaluation leaves to look at: predictions, tables, pictures, and a page with all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.parts import pictures
from tasks.parts.files import replacing, write_text
from tasks.parts.manifest import class_numbers
from tasks.parts.metrics import confusion, per_class
from tasks.parts.names import HIGH, LOW, VALUE, Candidate, Column, Metric
from tasks.parts.page import Part, page
from tasks.parts.params import Paths
from tasks.parts.scorer import decode

Table = dict[Candidate, dict[str, dict[str, float]]]  # candidate, metric, value and interval
THUMBNAIL = 256  # pixels


def write_predictions(paths: Paths, test: pd.DataFrame, classes: Sequence[str], probability_NC: np.ndarray) -> None:
    """A row a test image: what it is, what it was taken for, and how sure of each class the model was."""
    answer = {
        Column.PREDICTED: [classes[place] for place in probability_NC.argmax(1)],
        Column.PROBABILITY: probability_NC.max(1),
        Column.DISTRIBUTION: list(probability_NC),
    }
    with replacing(paths.predictions) as beside:
        test[[Column.PATH, Column.LABEL]].assign(**answer).to_parquet(beside, index=False)


def write_pictures(
    paths: Paths, test: pd.DataFrame, classes: Sequence[str], probability_NC: np.ndarray, table: Table, wrong: int
) -> None:
    """The table of classes, and the pictures: candidates, training, confusion, and the most wrong images."""
    counts_CC = confusion(probability_NC.argmax(1), class_numbers(test, classes), len(classes))
    with replacing(paths.per_class) as beside:
        pd.DataFrame(per_class(counts_CC), index=pd.Index(classes, name="class")).to_csv(beside, float_format="%.4f")
    accuracy = {name: row[Metric.ACCURACY] for name, row in table.items()}
    pictures.candidates(paths.comparison, {name: (at[VALUE], at[LOW], at[HIGH]) for name, at in accuracy.items()})
    pictures.confusion(paths.confusion, counts_CC, classes)
    pictures.curves(
        paths.curves_picture, [json.loads(line) for line in paths.curves.read_text(encoding="utf-8").splitlines()]
    )
    _write_wrong(paths, test, np.array(classes)[probability_NC.argmax(1)], probability_NC.max(1), wrong)


def _write_wrong(paths: Paths, test: pd.DataFrame, predicted_N: np.ndarray, sure_N: np.ndarray, most: int) -> None:
    """The wrong answers, the surest first."""
    rows = test.assign(**{Column.PREDICTED: predicted_N, Column.PROBABILITY: sure_N})
    rows = rows[rows[Column.LABEL] != rows[Column.PREDICTED]].nlargest(most, Column.PROBABILITY)
    images = [decode((paths.raw / path).read_bytes()) for path in rows[Column.PATH]]
    for image in images:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
    answers = zip(rows[Column.LABEL], rows[Column.PREDICTED], rows[Column.PROBABILITY], strict=True)
    captions = [f"{label}, not\n{predicted} ({sure:.0%})" for label, predicted, sure in answers]
    pictures.wrong(paths.wrong, [np.asarray(image) for image in images], captions)


def write_page(paths: Paths, table: Table) -> None:
    """The page: what a person looks at first."""
    columns = ["model", *(metric.replace("_", " ") for metric in Metric)]
    rows = [[name, *(interval_text(row[metric]) for metric in Metric)] for name, row in table.items()]
    classes = pd.read_csv(paths.per_class, dtype=str)
    parts = [
        Part(text="In brackets: 95% bootstrap intervals over the test images.", columns=columns, rows=rows),
        Part("From scratch, frozen or fine-tuned: the same number of optimiser steps", picture=paths.comparison),
        Part("Training", picture=paths.curves_picture),
        Part("What is taken for what", picture=paths.confusion),
        Part("The most wrong test images", picture=paths.wrong),
        Part("Classes", columns=list(classes.columns), rows=classes.to_numpy().tolist()),
        Part("Some training images and their views", picture=paths.preview),
    ]
    write_text(paths.results_page, page("Results on the test split", parts))


def interval_text(at: Mapping[str, float]) -> str:
    """A value with its interval."""
    return f"{at[VALUE]:.3f} [{at[LOW]:.3f}, {at[HIGH]:.3f}]"
