"""The manifest: one row an image, written by ingest, read by every stage after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tasks.core.schema import HAS, TARGET, Column, Split


def usable(manifest: pd.DataFrame) -> pd.DataFrame:
    """The rows that are not in quarantine, in manifest order."""
    return manifest[manifest[Column.QUARANTINE].isna()].reset_index(drop=True)


def of_split(manifest: pd.DataFrame, split: Split) -> pd.DataFrame:
    """The usable rows of one split, in manifest order."""
    rows = usable(manifest)
    return rows[rows[Column.SPLIT] == split].reset_index(drop=True)


def class_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """The class map: the sorted labels of the usable training rows, and of nothing else."""
    if several := label_names(rows):
        return several
    return tuple(sorted(rows.loc[rows[Column.SPLIT] == Split.TRAIN, Column.LABEL].unique()))


def target_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """The numbers that are to be predicted; none where there are classes."""
    return tuple(name.removeprefix(TARGET) for name in rows.columns if name.startswith(TARGET))


def label_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """The labels, sorted, where an image may have several of them; none elsewhere."""
    return tuple(sorted(name.removeprefix(HAS) for name in rows.columns if name.startswith(HAS)))


def class_numbers(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """The class of each row as its place in the class map, (N,) int64; -1 for a label that is not in it."""
    return pd.Categorical(rows[Column.LABEL], list(classes)).codes.astype(np.int64)
