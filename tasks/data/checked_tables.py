"""The tables that rules check: of images, with conditions across rows as columns of numbers, and of classes.

Columns stay as compact as the manifest's. Shape: N rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tasks.core.schema import HAS, LABELED_SPLITS, TARGET, Column, Split
from tasks.data.manifest import label_names, of_split
from tasks.data.suite import (
    CLASSES,
    GROUP_SPLITS,
    IMAGES,
    IN_CLASS_MAP,
    LEFT_OUT,
    NEAR_DUPLICATES,
    PIXEL_LABELS,
    PIXEL_SPLITS,
    SHORT_SIDE,
)

NOTE = "note"  # column of what is said about a row besides its name
COPIES_NAMED = 3  # in a note
CHECKED = {
    *(Column.PATH, Column.PIXEL_HASH, Column.WIDTH, Column.HEIGHT),
    *(Column.LABEL, Column.SPLIT, Column.GROUP, Column.QUARANTINE),
}


def checked(columns: Iterable[str]) -> list[str]:
    """Returns those columns of the manifest that the tables are made of."""
    return [name for name in columns if name in CHECKED or name.startswith((HAS, TARGET))]


def image_table(manifest: pd.DataFrame, pairs: Sequence[tuple[str, str]] = ()) -> pd.DataFrame:
    """Returns a column for each rule on images. Unreadable rows have nulls, or zeros, which rules ignore.

    Rows in quarantine whose pixels could be read are not broken: they fit into no split. `pairs` are the files of
    near-duplicates in two splits.
    """
    path, split, label, reason = (
        manifest[name] for name in (Column.PATH, Column.SPLIT, Column.LABEL, Column.QUARANTINE)
    )
    is_usable, was_read = reason.isna(), manifest[Column.PIXEL_HASH].notna()
    is_labeled = is_usable & split.isin(LABELED_SPLITS)  # unlabeled images cannot leak labels
    of_pixels = (manifest[Column.GROUP] == manifest[Column.PIXEL_HASH]).fillna(True)  # the pixel rule covers these
    group_N = _codes(manifest[Column.GROUP].where(was_read))
    pixels_N, split_N = _codes(manifest[Column.PIXEL_HASH]), _codes(split)
    near = _near_duplicates(manifest[is_usable & path.isin([file for pair in pairs for file in pair])], pairs)
    notes = near | _duplicates(manifest[is_usable & (_copies(pixels_N, is_usable) > 1)])
    in_class_map = label.isna() | label.isin(label[is_usable & (split == Split.TRAIN)].unique())
    return pd.DataFrame(
        {
            IMAGES: path,
            Column.QUARANTINE: reason.mask(was_read, None),
            LEFT_OUT: reason.where(was_read, None),
            NEAR_DUPLICATES: path.isin(list(near)).astype(int),
            Column.SPLIT: split.where(is_usable),
            SHORT_SIDE: manifest[[Column.WIDTH, Column.HEIGHT]].min(axis=1),
            IN_CLASS_MAP: in_class_map.where(is_usable),
            PIXEL_SPLITS: _distinct(split_N, pixels_N, is_usable),
            PIXEL_LABELS: _distinct(_codes(label), pixels_N, is_usable),
            GROUP_SPLITS: np.where(of_pixels.to_numpy(bool), 1, _distinct(split_N, group_N, is_labeled)),
            NOTE: _noted(reason, path, notes),
        }
    )


def class_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per class with its numbers of usable images in the labeled splits."""
    names = [Column.QUARANTINE, Column.SPLIT, Column.LABEL, *(f"{HAS}{name}" for name in label_names(manifest))]
    counts = {split: _counts(of_split(manifest[names], split)) for split in LABELED_SPLITS}
    table = pd.DataFrame(counts).fillna(0).astype(int)
    note = [", ".join(f"{count} {split}" for split, count in row.items()) for _, row in table.iterrows()]
    return table.assign(**{NOTE: note}).rename_axis(CLASSES).sort_index().reset_index()


def _counts(rows: pd.DataFrame) -> pd.Series:
    """Returns the number of rows per label."""
    if labels := label_names(rows):
        return pd.Series({name: rows[f"{HAS}{name}"].sum() for name in labels})
    return rows[Column.LABEL].value_counts()


def _codes(values: pd.Series) -> np.ndarray:
    """Returns a number for each value, (N,), -1 for nulls."""
    return pd.factorize(values)[0]


def _distinct(of_N: np.ndarray, by_N: np.ndarray, is_counted: pd.Series) -> np.ndarray:
    """Returns how many values `of` has in the counted rows with the same `by`, (N,); zero where `by` is null."""
    valid_N = is_counted.to_numpy(bool) & (of_N >= 0) & (by_N >= 0)
    values = of_N.max(initial=-1) + 1
    pairs = np.unique(by_N[valid_N] * values + of_N[valid_N])
    return _occurrences(pairs // max(values, 1), by_N)


def _copies(pixels_N: np.ndarray, is_usable: pd.Series) -> np.ndarray:
    """Returns how many usable rows have the same pixels, (N,); zero where they are null."""
    return _occurrences(pixels_N[is_usable.to_numpy(bool) & (pixels_N >= 0)], pixels_N)


def _occurrences(codes: np.ndarray, by_N: np.ndarray) -> np.ndarray:
    """Returns how often each `by` is in `codes`, (N,)."""
    count = np.bincount(codes, minlength=by_N.max(initial=-1) + 2)  # of null, the last one: zero
    count_N: np.ndarray = count[by_N]
    return count_N


def _noted(reason: pd.Series, path: pd.Series, notes: Mapping[str, str]) -> pd.Series:
    """Returns the reasons for quarantine, and where there are none, the notes by path."""
    rows = reason.isna() & path.isin(list(notes))
    note = reason.copy()
    note[rows] = path[rows].map(notes)
    return note


def _duplicates(copies: pd.DataFrame) -> dict[str, str]:
    """Returns, by path, a note on some other copies of each image that occurs more than once."""
    notes = {}
    for _, group in copies.groupby(Column.PIXEL_HASH):
        places = [f"{path} ({split})" for path, split in zip(group[Column.PATH], group[Column.SPLIT], strict=True)]
        for path, place in zip(group[Column.PATH], places, strict=True):
            others = [other for other in places[: COPIES_NAMED + 1] if other != place][:COPIES_NAMED]
            more = len(places) - 1 - len(others)
            notes[path] = f"the same picture as {', '.join(others)}" + (f" and {more} more" if more else "")
    return notes


def _near_duplicates(rows: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Returns, by path, a note on the near-duplicate of each image that has one in another split."""
    split = dict(zip(rows[Column.PATH], rows[Column.SPLIT], strict=True))
    both = [*pairs, *((b, a) for a, b in pairs)]
    return {path: f"almost the same picture as {other} ({split[other]})" for path, other in reversed(both)}
