"""Assigns images to splits: as specified by the source, otherwise as in earlier versions and by a stable hash."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.core.schema import HAS, Column, Split
from tasks.data.units import unit_hash


def are_ours(rows: pd.DataFrame) -> bool:
    """Returns whether the source has no splits, or only train and unlabeled images, so that a hash decides."""
    return set(rows[Column.SPLIT].fillna(Split.TRAIN)) <= {Split.TRAIN, Split.UNLABELED}


def completed(rows: pd.DataFrame) -> pd.Series:
    """Returns each row's split if the source defines splits, which are kept.

    If the source has no test split, its validation split becomes the test split; if it then has no validation split, a
    stratified fifth of the training groups becomes one.
    """
    split = rows[Column.SPLIT].fillna(Split.TRAIN)
    present = set(split)
    if Split.TEST not in present and Split.VALIDATION in present:
        split = split.where(split != Split.VALIDATION, Split.TEST)
    if Split.VALIDATION not in set(split):
        fifth = _stratified_fifth(rows[split == Split.TRAIN])
        split = split.mask(fifth.reindex(rows.index, fill_value=False), Split.VALIDATION)
    return split


def _stratified_fifth(train: pd.DataFrame) -> pd.Series:
    """Selects a fifth of each class's groups by hash, at least one if a class has two. Returns a boolean mask.

    Multi-label and regression data are not stratified, since most combinations of labels are rare.
    """
    groups = train.drop_duplicates(Column.GROUP)
    position = groups[Column.GROUP].map(lambda group: unit_hash(f"validation:{group}"))
    is_multilabel = any(str(name).startswith(HAS) for name in groups)
    stratum = groups[Column.LABEL].fillna("").map(lambda label: "" if is_multilabel else label)
    rank = position.groupby(stratum).rank(method="first")
    size = stratum.groupby(stratum).transform("size")
    quota = np.where(size > 1, np.maximum(1, (size / 5).round()), 0)
    chosen = set(groups[Column.GROUP][rank <= quota])
    return train[Column.GROUP].isin(chosen)
