"""Which split an image belongs to: as the source says, else decided by a stable hash, for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.schema import HAS, Column, Split

# Names that folders of splits carry, in the data sets one meets.
SPLIT_FOLDERS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "validation": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
    "unlabelled": Split.UNLABELLED,
    "unlabeled": Split.UNLABELLED,
}
LAYOUT = "expected class/*.jpg, or train/class/*.jpg with val/class/*.jpg and test/class/*.jpg; unlabelled/*.jpg beside"


def label_and_split(paths: Sequence[str]) -> pd.DataFrame:
    """Label and given split of each path, from its folders; a split of None is still to be decided.

    Raises DataRefusedError for images outside a class folder and for a mix of the two layouts.
    """
    folders = {PurePosixPath(path).parts[0] for path in paths}
    named = {folder for folder in folders if folder.lower() in SPLIT_FOLDERS}
    if named and any(SPLIT_FOLDERS[folder.lower()] is Split.TRAIN for folder in named):
        if named != folders:
            raise DataRefusedError(f"folders {sorted(folders - named)} stand beside {sorted(named)}: {LAYOUT}")
        return pd.DataFrame(
            [_in_split_folder(path) for path in paths], columns=[Column.LABEL, Column.SPLIT], dtype=object
        )
    alone = sorted(folder for folder in named if SPLIT_FOLDERS[folder.lower()] is not Split.UNLABELLED)
    if any(len(PurePosixPath(path).parts) > 2 for path in paths if PurePosixPath(path).parts[0] in alone):
        raise DataRefusedError(f"there is no train beside {', '.join(alone)}, which hold folders: {LAYOUT}")
    return pd.DataFrame([_in_class_folder(path) for path in paths], columns=[Column.LABEL, Column.SPLIT], dtype=object)


def _in_split_folder(path: str) -> tuple[str | None, Split]:
    split = SPLIT_FOLDERS[PurePosixPath(path).parts[0].lower()]
    return (None if split is Split.UNLABELLED else _class_folder(path, 1)), split


def _in_class_folder(path: str) -> tuple[str | None, Split | None]:
    """Of the folders of splits only that of unlabelled images may stand beside classes."""
    label = _class_folder(path, 0)
    return (None, Split.UNLABELLED) if SPLIT_FOLDERS.get(label.lower()) is Split.UNLABELLED else (label, None)


def _class_folder(path: str, depth: int) -> str:
    parts = PurePosixPath(path).parts
    if len(parts) < depth + 2:
        raise DataRefusedError(f"{path} lies in no class folder: {LAYOUT}")
    return parts[depth]


def complete(rows: pd.DataFrame, validation: float, test: float) -> pd.Series:
    """The split of every row, given LABEL, GROUP and the given SPLIT.

    Given splits are kept, except that a set with train and validation only has its validation as test. Without a
    validation split, it is a stratified fifth of the training groups. With no splits (or train alone), the hash of a
    row's group decides, so that a picture never moves when others are added. `validation` and `test` are fractions.
    """
    given = rows[Column.SPLIT].fillna(Split.TRAIN)
    present = set(given)
    if present <= {Split.TRAIN, Split.UNLABELLED}:
        decided = rows[Column.GROUP].map(lambda group: _by_hash(group, validation, test))
        return given.mask(given == Split.TRAIN, decided)
    if Split.TEST not in present and Split.VALIDATION in present:
        given = given.where(given != Split.VALIDATION, Split.TEST)
    if Split.VALIDATION not in set(given):
        given = given.mask(
            _stratified_fifth(rows[given == Split.TRAIN]).reindex(rows.index, fill_value=False), Split.VALIDATION
        )
    return given


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, on every machine and for ever."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _by_hash(group: str, validation: float, test: float) -> Split:
    place = unit_hash(f"split:{group}")
    if place < test:
        return Split.TEST
    return Split.VALIDATION if place < test + validation else Split.TRAIN


def _stratified_fifth(train: pd.DataFrame) -> pd.Series:
    """True for the rows of a fifth of each class's groups (at least one, where there are two), chosen by hash.

    Of all groups where there are targets, or several labels an image: most of their combinations are rare.
    """
    groups = train.drop_duplicates(Column.GROUP)
    place = groups[Column.GROUP].map(lambda group: unit_hash(f"validation:{group}"))
    several = [name for name in groups if str(name).startswith(HAS)]
    label = groups[Column.LABEL].fillna("").map(lambda own: "" if several else own)
    rank = place.groupby(label).rank(method="first")
    size = label.groupby(label).transform("size")
    wanted = np.where(size > 1, np.maximum(1, (size / 5).round()), 0)
    chosen = set(groups[Column.GROUP][rank <= wanted])
    return train[Column.GROUP].isin(chosen)
