"""What evaluation leaves to look at: predictions, tables, pictures, and a page with all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.core.files import replacing, write_text
from tasks.core.paths import Paths
from tasks.core.schema import HIGH, LOW, VALUE, Candidate, Column, Metric
from tasks.data.manifest import class_numbers
from tasks.metrics.classification import confusion, per_class
from tasks.reports import pictures
from tasks.reports.page import Part, page

Table = dict[Candidate, dict[str, dict[str, float]]]  # candidate, metric, value and interval


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
    percents = {name: (100 * at[VALUE], 100 * at[LOW], 100 * at[HIGH]) for name, at in accuracy.items()}
    pictures.candidates(paths.comparison, percents, "test accuracy, %", most=100)
    pictures.confusion(paths.confusion, counts_CC, classes)
    pictures.curves(
        paths.curves_picture, [json.loads(line) for line in paths.curves.read_text(encoding="utf-8").splitlines()]
    )
    _write_wrong(paths, test, np.array(classes)[probability_NC.argmax(1)], probability_NC.max(1), wrong)


def _write_wrong(paths: Paths, test: pd.DataFrame, predicted_N: np.ndarray, sure_N: np.ndarray, most: int) -> None:
    """The wrong answers, the surest first."""
    rows = test.assign(**{Column.PREDICTED: predicted_N, Column.PROBABILITY: sure_N})
    rows = rows[rows[Column.LABEL] != rows[Column.PREDICTED]].nlargest(most, Column.PROBABILITY)
    answers = zip(rows[Column.LABEL], rows[Column.PREDICTED], rows[Column.PROBABILITY], strict=True)
    captions = [f"{label}, not\n{predicted} ({sure:.0%})" for label, predicted, sure in answers]
    pictures.thumbnails(paths.wrong, [paths.raw / path for path in rows[Column.PATH]], captions)


def write_page(paths: Paths, table: Table, selective: Mapping[str, float]) -> None:
    """The page: what a person looks at first."""
    metrics = list(next(iter(table.values())))
    columns = ["model", *(metric.replace("_", " ") for metric in metrics)]
    rows = [[name, *(interval_text(row[metric]) for metric in metrics)] for name, row in table.items()]
    parts = [
        Part(
            text="In brackets: 95% intervals over the test images, Wilson's of accuracy and a bootstrap of the others.",
            columns=columns,
            rows=rows,
        ),
        Part("From scratch, frozen or fine-tuned: the same number of optimiser steps", picture=paths.comparison),
        Part("Training", picture=paths.curves_picture),
        Part("What is taken for what", picture=paths.confusion),
        Part("The most wrong test images", picture=paths.wrong),
        table_part("Classes", paths.per_class),
        Part("Is its confidence honest?", picture=paths.reliability),
        Part("ROC, precision and recall", picture=paths.roc_pr),
        Part('"Don\'t know"', selective_text(selective), picture=paths.risk_coverage),
        table_part("Slices", paths.slices, "none were asked for (evaluate.slices)"),
        Part("Under shift, scale, flip, rotation, noise, blur and JPEG", picture=paths.robustness_picture),
        Part("Some training images and their views", picture=paths.preview),
    ]
    if paths.attacks.exists():
        parts.insert(-1, table_part("Under attack", paths.attacks))
    write_text(paths.results_page, page("Results on the test split", parts))


def table_part(heading: str, file: Path, empty: str = "") -> Part:
    """A CSV file as a part of the page; a sentence if it has no rows."""
    found = pd.read_csv(file, dtype=str, keep_default_na=False)
    text = "" if len(found) else empty
    return Part(heading, text, columns=list(found.columns), rows=found.to_numpy().tolist())


def selective_text(found: Mapping[str, float]) -> str:
    """What the threshold of "don't know" brings."""
    return (
        f"Answers with a probability of at least {found['threshold']:.3f} are given: {found['coverage']:.1%} of the "
        f"test images get one, of which {found['risk']:.1%} are wrong ({found['wanted_risk']:.1%} were accepted, on "
        "validation)."
    )


def interval_text(at: Mapping[str, float], how: str = ".3f") -> str:
    """A value with its interval."""
    return f"{at[VALUE]:{how}} [{at[LOW]:{how}}, {at[HIGH]:{how}}]"
