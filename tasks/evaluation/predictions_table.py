"""The fine-tuned model's prediction for every test image, as a table and, with many classes, a matrix beside it.

Shapes: N test images, C classes or labels, B images per block.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save_file

from tasks.core.files import replacing
from tasks.core.paths import Paths
from tasks.core.schema import LABEL_PROBABILITY, LIKELIEST, MAX_CLASSES_SHOWN, PROBABILITIES, Column


def write_predictions(paths: Paths, rows: pd.DataFrame) -> None:
    """Writes a row per test image: its label or targets and the tuned model's prediction."""
    with replacing(paths.predictions) as temporary:
        rows.to_parquet(temporary, index=False)


def with_answers(
    test: pd.DataFrame, predicted: Sequence[str], confidence_N: np.ndarray, likelihood_N: np.ndarray | None = None
) -> pd.DataFrame:
    """Returns each row's path and label with the prediction and its probability, (N,).

    `likelihood_N`: the probabilities of the labels, if each image has one.
    """
    answers: dict[str, Any] = {Column.PREDICTED.value: predicted, Column.PROBABILITY.value: confidence_N}
    if likelihood_N is not None:
        answers[LABEL_PROBABILITY] = likelihood_N
    return test[[Column.PATH, Column.LABEL]].assign(**answers)


def write_probabilities(
    paths: Paths, rows: pd.DataFrame, probabilities: Iterable[np.ndarray], classes: Sequence[str]
) -> None:
    """Writes rows from `with_answers` with the probabilities of all classes, from blocks of them, (B, C).

    With more than MAX_CLASSES_SHOWN classes, the rows have the likeliest, and a file beside has all, (N, C) in float16.
    """
    if len(classes) <= MAX_CLASSES_SHOWN:
        distribution_NC = np.concatenate(list(probabilities))
        rows = rows.drop(columns=LABEL_PROBABILITY, errors="ignore")
        write_predictions(paths, rows.assign(**{Column.DISTRIBUTION: list(distribution_NC)}))
        return
    matrix_NC = np.empty((len(rows), len(classes)), np.float16)
    likeliest, start = [], 0
    for probability_BC in probabilities:
        matrix_NC[start : start + len(probability_BC)] = probability_BC
        likeliest.append(likeliest_columns(probability_BC, classes))
        start += len(probability_BC)
    with replacing(paths.probabilities) as temporary:
        save_file({PROBABILITIES: matrix_NC}, temporary)
    write_predictions(paths, rows.join(pd.concat(likeliest, ignore_index=True).set_axis(rows.index)))


def likeliest_columns(probability_BC: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Returns the LIKELIEST columns of probabilities (B, C): names and probabilities of the likeliest classes."""
    rest_BC, names, row_B = probability_BC.copy(), np.array(classes, object), np.arange(len(probability_BC))
    columns: dict[str, np.ndarray] = {}
    for name, probability in LIKELIEST:
        best_B = rest_BC.argmax(1)  # the first of equal ones, as for the prediction
        columns |= {name: names[best_B], probability: probability_BC[row_B, best_B]}
        rest_BC[row_B, best_B] = -1
    return pd.DataFrame(columns)


def read_predictions(paths: Paths, count: int) -> pd.DataFrame:
    """Returns at most `count` rows of the table, evenly spread; those of a classifier have all probabilities, (C,)."""
    rows = pd.read_parquet(paths.predictions)
    rows = rows.iloc[:: -(-len(rows) // count)]
    if LIKELIEST[0][0] not in rows:
        return rows
    with safe_open(paths.probabilities, "numpy") as file:
        matrix = file.get_slice(PROBABILITIES)
        return rows.assign(**{Column.DISTRIBUTION: [matrix[row : row + 1][0] for row in rows.index]})
