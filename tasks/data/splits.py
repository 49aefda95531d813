"""Assigns images to splits: as specified by the source, otherwise by a stable hash of the group."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.schema import HAS, Column, Split

# Names of split folders that are common in data sets.
SPLIT_FOLDERS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
    "unlabelled": Split.UNLABELED,
    "unlabeled": Split.UNLABELED,
}
LAYOUT = (
    "expected class/*.jpg, or train/class/*.jpg with val/class/*.jpg and test/class/*.jpg; unlabelled/*.jpg is optional"
)


def label_and_split(paths: Sequence[str]) -> pd.DataFrame:
    """Returns each path's label and split, derived from its folders. A split of None has yet to be assigned.

    Raises DataRefusedError for images outside of a class folder and for a mix of the two layouts.
    """
    folders = {PurePosixPath(path).parts[0] for path in paths}
    named = {folder for folder in folders if folder.lower() in SPLIT_FOLDERS}
    if named and any(SPLIT_FOLDERS[folder.lower()] is Split.TRAIN for folder in named):
        if named != folders:
            raise _wrong_layout(f"folders {sorted(folders - named)} are beside {sorted(named)}")
        return pd.DataFrame(
            [_in_split_folder(path) for path in paths], columns=[Column.LABEL, Column.SPLIT], dtype=object
        )
    alone = sorted(folder for folder in named if SPLIT_FOLDERS[folder.lower()] is not Split.UNLABELED)
    if any(len(PurePosixPath(path).parts) > 2 for path in paths if PurePosixPath(path).parts[0] in alone):
        raise _wrong_layout(f"there is no train beside {', '.join(alone)}, which contain folders")
    return pd.DataFrame([_in_class_folder(path) for path in paths], columns=[Column.LABEL, Column.SPLIT], dtype=object)


def _in_split_folder(path: str) -> tuple[str | None, Split]:
    split = SPLIT_FOLDERS[PurePosixPath(path).parts[0].lower()]
    return (None if split is Split.UNLABELED else _class_folder(path, 1)), split


def _in_class_folder(path: str) -> tuple[str | None, Split | None]:
    """Handles the layout without splits, in which `unlabelled` is the only split folder allowed."""
    label = _class_folder(path, 0)
    return (None, Split.UNLABELED) if SPLIT_FOLDERS.get(label.lower()) is Split.UNLABELED else (label, None)


def _class_folder(path: str, depth: int) -> str:
    parts = PurePosixPath(path).parts
    if len(parts) < depth + 2:
        raise _wrong_layout(f"{path} is not in a class folder")
    return parts[depth]


def _wrong_layout(fault: str) -> DataRefusedError:
    return DataRefusedError(f"{fault}: {LAYOUT}", key="folder-layout")


def complete(rows: pd.DataFrame, validation: float, test: float) -> pd.Series:
    """Returns each row's split, based on its label, group and source split. `validation` and `test` are fractions.

    The source's splits are kept. If it has no test split, its validation split becomes the test split; if it then has
    no validation split, a stratified fifth of the training groups becomes one. If it has no splits, or only train,
    splits are assigned by group hash, so that an image never changes its split when others are added.
    """
    split = rows[Column.SPLIT].fillna(Split.TRAIN)
    present = set(split)
    if present <= {Split.TRAIN, Split.UNLABELED}:
        hashed = rows[Column.GROUP].map(lambda group: _by_hash(group, validation, test))
        return split.mask(split == Split.TRAIN, hashed)
    if Split.TEST not in present and Split.VALIDATION in present:
        split = split.where(split != Split.VALIDATION, Split.TEST)
    if Split.VALIDATION not in set(split):
        fifth = _stratified_fifth(rows[split == Split.TRAIN])
        split = split.mask(fifth.reindex(rows.index, fill_value=False), Split.VALIDATION)
    return split


def unit_hash(text: str) -> float:
    """Returns a number in [0, 1) that depends only on the text, not on the machine or the version."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _by_hash(group: str, validation: float, test: float) -> Split:
    position = unit_hash(f"split:{group}")
    if position < test:
        return Split.TEST
    return Split.VALIDATION if position < test + validation else Split.TRAIN


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
