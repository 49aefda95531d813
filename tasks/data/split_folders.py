"""Top folders that are splits: train/class/*.jpg beside test/class/*.jpg, under any of the usual names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.core.errors import DataRefusedError
from tasks.core.schema import FolderClasses, Split
from tasks.data.class_folders import Folders, Row, label_of, nested_folders, some, subfolders, wrong_layout
from tasks.data.split_words import is_split_name, split_in, without_split

Below = Mapping[str, Sequence[Folders]]  # the folders below each top folder


def split_folders(folders: Sequence[Folders]) -> dict[str, Split]:
    """Returns the split of each top folder; empty if the top folders are classes.

    A folder that holds images directly is a class, even if it is named like a split, unless a train folder with class
    folders is beside it. Raises DataRefusedError if splits are beside other folders, or hold no class folders.
    """
    below = _by_top(folders)
    splits = {top: split for top in below if (split := split_in(top))}
    trains = [top for top, split in splits.items() if split is Split.TRAIN and all(below[top])]
    if others := sorted(set(below) - set(splits)):
        if any(map(is_split_name, trains)):
            raise wrong_layout(f"folders {some(others)} are beside {some(sorted(splits))}")
        return {}
    if trains and _share_classes(below, splits, trains):
        return splits
    _refuse_flat_splits(below, splits)
    return {}


def split_rows(
    paths: Sequence[str], folders: Sequence[Folders], splits: Mapping[str, Split], classes: FolderClasses
) -> tuple[list[Row], list[str]]:
    """Returns each path's label and split, and notes. Folders without class folders, beside train, are unlabeled."""
    below = _by_top(folders)
    depth = _depths(below, splits)
    flat = {top for top, rest in below.items() if not any(parts[depth[top] :] for parts in rest)}
    flat |= {top for top, split in splits.items() if split is Split.UNLABELED}
    rows: list[Row] = []
    labeled: list[Folders] = []
    for path, (top, *rest) in zip(paths, folders, strict=True):
        parts = tuple(rest[depth[top] :])
        if top not in flat and not parts:
            raise wrong_layout(f"{path!r} is not in a class folder")
        rows.append((None, Split.UNLABELED) if top in flat else (label_of(path, parts, classes), splits[top]))
        labeled += [] if top in flat else [parts]
    return rows, [*_notes(below, splits, depth, flat), *nested_folders(labeled, classes)]


def _by_top(folders: Sequence[Folders]) -> dict[str, list[Folders]]:
    below: dict[str, list[Folders]] = {}
    for parts in folders:
        below.setdefault(parts[0], []).append(parts[1:])
    return below


def _share_classes(below: Below, splits: Mapping[str, Split], trains: Sequence[str]) -> bool:
    """Returns whether the folders are splits of the same classes: `train_station` and `test_tube` are not."""
    depth = _depths(below, splits)
    names = {top: {parts[depth[top]] for parts in below[top] if len(parts) > depth[top]} for top in splits}
    classes = set[str]().union(*(names[top] for top in trains))
    scored = [top for top, split in splits.items() if split in {Split.VALIDATION, Split.TEST}]
    return all(is_split_name(top) or not names[top] or names[top] & classes for top in scored)


def _refuse_flat_splits(below: Below, splits: Mapping[str, Split]) -> None:
    """Raises DataRefusedError for split folders that hold images directly, and for `train_cats` beside `test_cats`."""
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for top, split in splits.items():
        if split is not Split.UNLABELED:
            names[split is Split.TRAIN].add(without_split(top))
    shared = names[True] & names[False]
    if "" in shared:
        raise wrong_layout(f"images in {some(sorted(below))} are not in a class folder")
    if shared:
        raise DataRefusedError(
            f"are {some(sorted(below))} classes, or splits of classes? For splits, move the images to "
            f"train/{min(shared)}, test/{min(shared)} and so on; for classes, rename the folders",
            key="folder-layout",
        )


def _depths(below: Below, splits: Mapping[str, Split]) -> dict[str, int]:
    """Returns how many nested single folders each split has around its class folders, as in seg_train/seg_train."""
    several = [names for names in subfolders_of(below).values() if len(names) > 1]
    classes = set[str]().union(*several)
    depth = {top: _depth(rest, classes, splits[top]) for top, rest in below.items() if splits[top] is Split.TRAIN}
    classes |= {parts[depth[top]] for top in depth for parts in below[top] if len(parts) > depth[top]}
    return depth | {top: _depth(rest, classes, splits[top]) for top, rest in below.items() if top not in depth}


def subfolders_of(below: Below) -> dict[str, set[str]]:
    """Returns the names of the folders in each top folder."""
    return subfolders([(top, *parts) for top, rest in below.items() for parts in rest])


def _depth(rest: Sequence[Folders], classes: set[str], split: Split) -> int:
    """Counts single folders from the top. The last may hold images directly only if the split needs no labels."""
    depth = 0
    while len(names := {parts[depth : depth + 1] for parts in rest}) == 1 and (name := next(iter(names))):
        holds_images = any(len(parts) == depth + 1 for parts in rest)
        if name[0] in classes or (holds_images and split is Split.TRAIN):
            break
        depth += 1
    return depth


def _notes(below: Below, splits: Mapping[str, Split], depth: Mapping[str, int], flat: set[str]) -> list[str]:
    renamed = [f"{top} is {splits[top]}" for top in sorted(splits) if not is_split_name(top)]
    notes = [f"splits from folders: {', '.join(renamed)}"] if renamed else []
    inner = ["/".join((top, *below[top][0][: depth[top]])) for top in sorted(below) if depth[top] and top not in flat]
    notes += [f"the single folders in splits are passed through: {some(inner)}"] if inner else []
    unlabeled = sorted(top for top in flat if splits[top] is not Split.UNLABELED)
    if unlabeled:
        notes.append(f"warning: {some(unlabeled)} has no class folders: its images are unlabeled and are not scored")
    return notes
