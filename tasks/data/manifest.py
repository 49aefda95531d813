"""The manifest: one row an image, written by ingest, read by every stage after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.core.errors import DataRefusedError
from tasks.core.schema import HAS, TARGET, Column, Split
from tasks.core.target import TargetKind, TargetSpec

if TYPE_CHECKING:
    import pandas as pd

MAX_MEAN_TO_STD = 1e5  # of a target: beyond it float32 loses the differences


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


def target_spec(rows: pd.DataFrame) -> TargetSpec:
    """Derives what is predicted from usable rows: the training images alone decide.

    Raises DataRefusedError if there is one class only, and for targets that are constant or too far from zero.
    """
    targets, labels = target_names(rows), label_names(rows)
    if targets:
        return _regression(rows, targets)
    present = labels or tuple(rows[Column.LABEL].dropna().unique())
    if len(present) == 1:
        raise DataRefusedError(f"there is one class only, {present[0]}: add pictures of something else")
    kind = TargetKind.MULTILABEL if labels else TargetKind.CLASSIFICATION
    return TargetSpec(kind=kind, classes=class_names(rows))


def _regression(rows: pd.DataFrame, targets: tuple[str, ...]) -> TargetSpec:
    y_NK = rows.loc[rows[Column.SPLIT] == Split.TRAIN, [f"{TARGET}{name}" for name in targets]].to_numpy(float)
    if not len(y_NK):  # validate refuses it, and says what to do
        return TargetSpec(kind=TargetKind.REGRESSION, targets=targets)
    mean_K, std_K = y_NK.mean(0), y_NK.std(0)
    constant = [name for name, values in zip(targets, y_NK.T, strict=True) if values.min() == values.max()]
    if constant:
        raise DataRefusedError(
            f"data.targets: {', '.join(constant)}: all training images have the same number; leave it out"
        )
    distant = [name for name, ratio in zip(targets, np.abs(mean_K) / std_K, strict=True) if ratio > MAX_MEAN_TO_STD]
    if distant:
        raise DataRefusedError(
            f"data.targets: {', '.join(distant)}: the numbers differ by less than float32 can tell so far from zero; "
            "subtract a constant from them"
        )
    return TargetSpec(kind=TargetKind.REGRESSION, targets=targets, mean_K=tuple(mean_K), std_K=tuple(std_K))


def class_numbers(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """The class of each row as its place in the class map, (N,) int64; -1 for a label that is not in it."""
    import pandas as pd

    return pd.Categorical(rows[Column.LABEL], list(classes)).codes.astype(np.int64)
