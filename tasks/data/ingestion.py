"""From the files of a source to the rows of the manifest: facts about each image, labels, groups, weights, splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.progress import counted
from tasks.core.schema import TABLE, Column
from tasks.data import image_files, splits
from tasks.data.image_files import Facts

COLUMNS = {
    Column.PATH: "string",
    Column.SHA256: "string",
    Column.PIXEL_HASH: "string",
    Column.PERCEPTUAL_HASH: "string",
    Column.WIDTH: "Int64",
    Column.HEIGHT: "Int64",
    Column.MODE: "string",
    Column.LABEL: "string",
    Column.SPLIT: "string",
    Column.GROUP: "string",
    Column.WEIGHT: "float64",
    Column.QUARANTINE: "string",
}


class Source(NamedTuple):
    """The images and the other files, as relative POSIX paths, and what the source says about each image."""

    files: list[str]
    others: list[str]
    labels: pd.DataFrame


def read_source(raw: Path) -> Source:
    """Lists the images below `raw`, with the labels of its table or of its folders.

    Raises DataRefusedError if there are no images, or if the folders have neither of the two layouts.
    """
    table = pd.read_parquet(raw / TABLE) if (raw / TABLE).exists() else None
    files, others = image_files.find(raw) if table is None else (list(table[Column.PATH]), [])
    if not files:
        suffixes = ", ".join(sorted(image_files.SUFFIXES))
        raise DataRefusedError(f"no images below {raw} ({suffixes}): {splits.LAYOUT}", key="no-images")
    labels = splits.label_and_split(files) if table is None else table.drop(columns=Column.PATH)
    return Source(files, others, labels)


def read_facts(raw: Path, files: list[str], cached: Mapping[str, Facts]) -> list[Facts]:
    """Reads the facts of each file, in order, and reports progress. `cached` has facts by SHA-256."""
    return list(counted(image_files.facts(raw, files, cached), len(files), "images read"))


def build_manifest(facts: list[Facts], labels: pd.DataFrame, validation: float, test: float) -> pd.DataFrame:
    """Joins facts and labels, row by row, and completes group, weight and split.

    An image without a group is a group of its own: with its copies, or alone if it is in quarantine. `validation` and
    `test` are the fractions of the groups for a source without splits.
    """
    rows = pd.DataFrame(facts, columns=list(COLUMNS))
    content = rows[Column.PIXEL_HASH].fillna(rows[Column.SHA256]).fillna(rows[Column.PATH])
    rows[labels.columns] = labels
    rows[Column.GROUP] = rows[Column.GROUP].astype("string").fillna(content)
    rows[Column.WEIGHT] = rows[Column.WEIGHT].astype(float).fillna(1.0)
    rows[Column.SPLIT] = splits.complete(rows, validation, test)
    return rows.astype(COLUMNS)
