"""Converts a source's files to manifest rows: image facts, labels, groups, weights and splits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.core.errors import DataRefusedError
from tasks.core.progress import counted
from tasks.core.schema import LABELED_SPLITS, TABLE, Column, FolderClasses, Split
from tasks.data import image_files, splits
from tasks.data.class_folders import LAYOUT
from tasks.data.facts_cache import FactsCache, table_of
from tasks.data.file_facts import facts_of_files
from tasks.data.hashed_splits import assign, by_hash
from tasks.data.layout import read_layout
from tasks.data.near_duplicates import ImageFiles, find_near_duplicates
from tasks.data.split_record import SplitRecord
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
    """The images, other files and litter, as relative POSIX paths, each image's metadata, and notes for the user."""

    files: list[str]
    others: list[str]
    litter: list[str]
    labels: pd.DataFrame
    notes: tuple[str, ...]


class Fractions(NamedTuple):
    """The fractions of the images in two splits, if the source has none."""

    validation: float
    test: float


def read_source(raw: Path, classes: FolderClasses = FolderClasses.AUTO) -> Source:
    """Lists the images below `raw`, with labels from the source's table or folders.

    Raises DataRefusedError if there are no images, or if the folders match neither of the two supported layouts.
    """
    table = pd.read_parquet(raw / TABLE) if (raw / TABLE).exists() else None
    files, others, litter = image_files.find(raw) if table is None else (list(table[Column.PATH]), [], [])
    if not files:
        suffixes = ", ".join(sorted(image_files.READABLE))
        raise DataRefusedError(f"no images below {raw} ({suffixes}): {LAYOUT}", key="no-images")
    if table is not None:
        return Source(files, others, litter, table.drop(columns=Column.PATH), ())
    labels, notes = read_layout(files, classes)
    return Source(files, others, litter, labels, notes)


def read_facts(raw: Path, files: list[str], cache: FactsCache, decoding: Decoding) -> pa.Table:
    """Returns the facts of each file, in order, and reports progress. The cache stores new ones as they come."""
    facts = facts_of_files(raw, files, cache, decoding)
    return table_of(counted(cache.stored(facts), len(files), "images read"))


def build_manifest(
    files: ImageFiles, facts: pa.Table, labels: pd.DataFrame, fractions: Fractions, memory: Mapping[str, str]
) -> tuple[pd.DataFrame, SplitRecord]:
    """Joins facts and labels row by row, and fills in groups, weights and splits. Returns the record of the splits too.

    An image without a group forms a group with its copies, or by itself if it is in quarantine. `memory` is the split
    of each pixel hash in earlier versions; it and `fractions` matter only if the source has no splits.
    """
    rows = facts.to_pandas().reindex(columns=list(COLUMNS))
    content = rows[Column.PIXEL_HASH].fillna(rows[Column.SHA256]).fillna(rows[Column.PATH])
    if Column.QUARANTINE in labels:  # a table's own name for a file that does not exist
        labels = labels.assign(quarantine=labels[Column.QUARANTINE].fillna(rows[Column.QUARANTINE]))
    rows[labels.columns] = labels
    rows[Column.GROUP] = rows[Column.GROUP].astype("string").fillna(content)
    rows[Column.WEIGHT] = rows[Column.WEIGHT].astype(float).fillna(1.0)
    rows, record = _hashed(files, rows, fractions, memory) if splits.are_ours(rows) else _given(files, rows)
    return rows.astype(COLUMNS), record


def _given(files: ImageFiles, rows: pd.DataFrame) -> tuple[pd.DataFrame, SplitRecord]:
    """Keeps the source's splits, and records near-duplicates in two of them."""
    rows = rows.assign(**{Column.SPLIT: splits.completed(rows)})
    labeled = rows[rows[Column.SPLIT].isin(LABELED_SPLITS) & rows[Column.QUARANTINE].isna()]
    near = find_near_duplicates(files, labeled, labeled[Column.SPLIT])
    return rows, SplitRecord(ours=False, near_duplicates=_files(labeled, near.pairs_P2), unsearched=near.unsearched)


def _hashed(
    files: ImageFiles, rows: pd.DataFrame, fractions: Fractions, memory: Mapping[str, str]
) -> tuple[pd.DataFrame, SplitRecord]:
    """Assigns labeled images to splits; near-duplicates join groups. Images left out have a quarantine reason."""
    split = rows[Column.SPLIT].fillna(Split.TRAIN)
    hashed = rows[Column.GROUP].map(lambda group: by_hash(group, *fractions))  # of unreadable files
    rows[Column.SPLIT] = split.mask(split == Split.TRAIN, hashed)
    labeled = rows[(split == Split.TRAIN) & rows[Column.QUARANTINE].isna()]
    near = find_near_duplicates(files, labeled)
    assignment = assign(labeled, memory, near.pairs_P2, *fractions)
    for column, values in zip((Column.SPLIT, Column.GROUP, Column.QUARANTINE), assignment, strict=True):
        rows[column] = rows[column].astype(object)
        rows.loc[labeled.index, column] = values
    a_P, b_P = near.pairs_P2.T
    split_N, inside_N = assignment.split.to_numpy(object), assignment.left_out.isna().to_numpy()
    torn_P2 = near.pairs_P2[(split_N[a_P] != split_N[b_P]) & inside_N[a_P] & inside_N[b_P]]
    return rows, SplitRecord(ours=True, near_duplicates=_files(labeled, torn_P2), unsearched=near.unsearched)


def _files(rows: pd.DataFrame, pairs_P2: np.ndarray) -> tuple[tuple[str, str], ...]:
    paths = rows[Column.PATH].to_numpy(object)
    return tuple((str(paths[a]), str(paths[b])) for a, b in pairs_P2)
