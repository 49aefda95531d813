"""The manifest: one row per image, written by ingest, read by every later stage.

Shapes: N images, K targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.errors import DataRefusedError
from tasks.core.schema import HAS, TARGET, Column, Split
from tasks.core.target import TargetKind, TargetSpec

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

MAX_MEAN_TO_STD = 1e5  # limit on a target's ratio of mean to standard deviation, above which float32 loses precision


def read_manifest(file: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Reads the manifest, or some of its columns. Reading ahead would take twice the memory."""
    import pandas as pd

    return pd.read_parquet(file, columns=columns, pre_buffer=False)


def column_names(file: Path) -> list[str]:
    """Returns the names of the manifest's columns."""
    import pyarrow.parquet as pq

    names: list[str] = pq.read_schema(file).names
    return names


def in_blocks(file: Path, rows: int) -> Iterator[pd.DataFrame]:
    """Yields the manifest in `file`, some rows at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, pre_buffer=False) as opened:
        for block in opened.iter_batches(rows):
            yield block.to_pandas()


def usable(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows that are not in quarantine, in manifest order."""
    return manifest[manifest[Column.QUARANTINE].isna()].reset_index(drop=True)


def of_split(manifest: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Returns the usable rows of one split, in manifest order."""
    rows = usable(manifest)
    return rows[rows[Column.SPLIT] == split].reset_index(drop=True)


def class_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Returns the class map: the sorted labels of usable training rows, or all labels if multi-label."""
    if labels := label_names(rows):
        return labels
    return tuple(sorted(rows.loc[rows[Column.SPLIT] == Split.TRAIN, Column.LABEL].unique()))


def target_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Returns the names of the regression targets; empty for other problem types."""
    return tuple(name.removeprefix(TARGET) for name in rows.columns if name.startswith(TARGET))


def label_names(rows: pd.DataFrame) -> tuple[str, ...]:
    """Returns the sorted labels of multi-label data; empty for other problem types."""
    return tuple(sorted(name.removeprefix(HAS) for name in rows.columns if name.startswith(HAS)))


def target_spec(rows: pd.DataFrame) -> TargetSpec:
    """Derives the target spec from usable rows; classes and statistics come only from training images.

    Raises DataRefusedError if there is only one class, or if a target is constant or too far from zero for float32.
    """
    targets, labels = target_names(rows), label_names(rows)
    if targets:
        return _regression(rows, targets)
    present = labels or tuple(rows[Column.LABEL].dropna().unique())
    if len(present) == 1:
        raise DataRefusedError(
            f"there is only one class, {present[0]}; add images of at least one other class", key="single-class"
        )
    kind = TargetKind.MULTILABEL if labels else TargetKind.CLASSIFICATION
    return TargetSpec(kind=kind, classes=class_names(rows))


def _regression(rows: pd.DataFrame, targets: tuple[str, ...]) -> TargetSpec:
    y_NK = rows.loc[rows[Column.SPLIT] == Split.TRAIN, [f"{TARGET}{name}" for name in targets]].to_numpy(float)
    if not len(y_NK):  # validate reports this with its remedy
        return TargetSpec(kind=TargetKind.REGRESSION, targets=targets)
    mean_K, std_K = y_NK.mean(0), y_NK.std(0)
    constant = [name for name, values in zip(targets, y_NK.T, strict=True) if values.min() == values.max()]
    if constant:
        raise DataRefusedError(
            f"data.targets: {', '.join(constant)}: all training images have the same value; leave it out",
            key="data.targets",
        )
    distant = [name for name, ratio in zip(targets, np.abs(mean_K) / std_K, strict=True) if ratio > MAX_MEAN_TO_STD]
    if distant:
        raise DataRefusedError(
            f"data.targets: {', '.join(distant)}: the values are too far from zero for the precision of float32; "
            "subtract a constant from them",
            key="data.targets",
        )
    return TargetSpec(kind=TargetKind.REGRESSION, targets=targets, mean_K=tuple(mean_K), std_K=tuple(std_K))
