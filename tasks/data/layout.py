"""Derives labels and splits from folders: class/*.jpg, or train/class/*.jpg beside test/class/*.jpg.

The folders of a path are a tuple of names, from the top; the first is the top folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column, FolderClasses, Split
from tasks.data.class_folders import Folders, Row, label_of, nested_folders, normalized, some, subfolders, wrong_layout
from tasks.data.split_folders import split_folders, split_rows
from tasks.data.split_words import is_split_name, split_in


class Layout(NamedTuple):
    """Each path's label and split, in order (a split of None has yet to be assigned), and notes for the user."""

    rows: pd.DataFrame
    notes: tuple[str, ...]


def read_layout(paths: Sequence[str], classes: FolderClasses = FolderClasses.AUTO) -> Layout:
    """Returns the labels and splits of paths. Raises DataRefusedError if the folders fit no layout or several."""
    folders = [PurePosixPath(path).parts[:-1] for path in paths]
    inside = _without_single_folders(folders)
    skipped = folders[0][: len(folders[0]) - len(inside[0])]
    notes = [f"the folder {'/'.join(skipped)} holds all images; its sub-folders are used"] if skipped else []
    for path, parts in zip(paths, inside, strict=True):
        if not parts:
            raise wrong_layout(f"{path!r} is not in a class folder")
    if splits := split_folders(inside):
        rows, more = split_rows(paths, inside, splits, classes)
    else:
        rows, more = _class_rows(paths, inside, classes)
    return Layout(pd.DataFrame(rows, columns=[Column.LABEL, Column.SPLIT], dtype=object), (*notes, *more))


def similar_labels(labels: Iterable[str]) -> list[str]:
    """Returns a warning for labels that differ only in case, blanks, hyphens and underscores."""
    by_key: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        by_key.setdefault(re.sub(r"[\s_-]+", " ", normalized(label)).casefold(), []).append(label)
    alike = [" and ".join(map(repr, names)) for names in by_key.values() if len(names) > 1]
    return [f"warning: classes with almost the same name: {some(alike)}; rename them if they are one"] if alike else []


def _without_single_folders(folders: Sequence[Folders]) -> list[Folders]:
    """Removes common top folders that hold nothing but folders."""
    inside = list(folders)
    while len({parts[:1] for parts in inside}) == 1 and all(len(parts) > 1 for parts in inside):
        if split_in(inside[0][0]) is Split.UNLABELED:
            break
        inside = [parts[1:] for parts in inside]
    return inside


def _class_rows(
    paths: Sequence[str], folders: Sequence[Folders], classes: FolderClasses
) -> tuple[list[Row], list[str]]:
    """Returns the rows of the layout without splits, in which `unlabelled` is the only split folder, and notes."""
    labeled = [parts for parts in folders if split_in(parts[0]) is not Split.UNLABELED]
    below = subfolders(labeled)
    if alone := sorted(top for top, names in below.items() if names and is_split_name(top)):
        raise wrong_layout(f"there is no train beside {some(alone)}, which contain folders")
    if classes is FolderClasses.AUTO:
        _refuse_domains(below)
    rows: list[Row] = [
        (None, Split.UNLABELED) if split_in(parts[0]) is Split.UNLABELED else (label_of(path, parts, classes), None)
        for path, parts in zip(paths, folders, strict=True)
    ]
    return rows, nested_folders(labeled, classes)


def _refuse_domains(below: Mapping[str, set[str]]) -> None:
    """Raises DataRefusedError if all top folders hold the same sub-folders: the classes may be either of them."""
    common = set.intersection(*below.values()) if below else set()
    if len(below) > 1 and len(common) > 1 and 2 * len(common) >= len(set.union(*below.values())):
        raise DataRefusedError(
            f"{some(sorted(below))} contain the same folders ({some(sorted(common))}). Are they splits? Then name them "
            "train, val and test. Are they the classes? Then set ingest.classes: folders. Are the folders in them the "
            "classes? Then set ingest.classes: subfolders",
            key="ingest.classes",
        )
