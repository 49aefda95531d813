"""Converts a source's files to manifest rows: image facts, labels, groups, weights and splits."""

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
from tasks.scorer.decode import Decoding

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
    """The images, the other files and litter, as relative POSIX paths, and the source's metadata for each image."""

    files: list[str]
    others: list[str]
    litter: list[str]
    labels: pd.DataFrame


def read_source(raw: Path) -> Source:
    """Lists the images below `raw`, with labels from the source's table or folders.

    Raises DataRefusedError if there are no images, or if the folders match neither of the two supported layouts.
    """
    table = pd.read_parquet(raw / TABLE) if (raw / TABLE).exists() else None
    files, others, litter = image_files.find(raw) if table is None else (list(table[Column.PATH]), [], [])
    if not files:
        suffixes = ", ".join(sorted(image_files.READABLE))
        raise DataRefusedError(f"no images below {raw} ({suffixes}): {splits.LAYOUT}", key="no-images")
    labels = splits.label_and_split(files) if table is None else table.drop(columns=Column.PATH)
    return Source(files, others, litter, labels)


def read_facts(raw: Path, files: list[str], cached: Mapping[str, Facts], decoding: Decoding) -> list[Facts]:
    """Reads the facts of each file, in order, and reports progress. `cached` maps SHA-256 to facts."""
    return list(counted(image_files.facts(raw, files, cached, decoding), len(files), "images read"))


def build_manifest(facts: list[Facts], labels: pd.DataFrame, validation: float, test: float) -> pd.DataFrame:
    """Joins facts and labels row by row, and fills in groups, weights and splits.

    An image without a group forms a group with its copies, or by itself if it is in quarantine. `validation` and `test`
    are the fractions of groups assigned to these splits if the source has none.
    """
    rows = pd.DataFrame(facts, columns=list(COLUMNS))
    content = rows[Column.PIXEL_HASH].fillna(rows[Column.SHA256]).fillna(rows[Column.PATH])
    if Column.QUARANTINE in labels:  # a table's own name for a file that does not exist
        labels = labels.assign(quarantine=labels[Column.QUARANTINE].fillna(rows[Column.QUARANTINE]))
    rows[labels.columns] = labels
    rows[Column.GROUP] = rows[Column.GROUP].astype("string").fillna(content)
    rows[Column.WEIGHT] = rows[Column.WEIGHT].astype(float).fillna(1.0)
    rows[Column.SPLIT] = splits.complete(rows, validation, test)
    return rows.astype(COLUMNS)
