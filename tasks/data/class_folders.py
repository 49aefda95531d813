"""Labels from class folders, and the sub-folders below them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tasks.core.errors import DataRefusedError
from tasks.core.schema import FolderClasses, Split

LAYOUT = (
    "expected class/*.jpg, or train/class/*.jpg with val/class/*.jpg and test/class/*.jpg; unlabelled/*.jpg is optional"
)
MAX_NAMED = 3  # examples in a message

Folders = tuple[str, ...]
Row = tuple[str | None, Split | None]


def label_of(path: str, parts: Folders, classes: FolderClasses) -> str:
    """Returns the label of a path with these folders. Raises DataRefusedError if its folder's name is blank."""
    label = normalized(parts[-1 if classes is FolderClasses.SUBFOLDERS else 0])
    if not label:
        raise wrong_layout(f"the name of the class folder in {path!r} is blank")
    return label


def normalized(label: str) -> str:
    """Returns a label without surrounding blanks, in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", label).strip()


def subfolders(folders: Sequence[Folders]) -> dict[str, set[str]]:
    """Returns the names of the folders in each top folder."""
    below: dict[str, set[str]] = {}
    for parts in folders:
        below.setdefault(parts[0], set()).update(parts[1:2])
    return below


def nested_folders(folders: Sequence[Folders], classes: FolderClasses) -> list[str]:
    """Returns a warning that names sub-folders of class folders, unless `classes` says how to use them."""
    direct = {parts[0] for parts in folders if len(parts) == 1}
    nested = {top: names for top, names in subfolders(folders).items() if len(names) + (top in direct) > 1}
    if classes is not FolderClasses.AUTO or not nested:
        return []
    named = [f"{top} ({some(sorted(names))})" for top, names in sorted(nested.items())]
    warning = f"warning: images in sub-folders have the label of the class folder: {some(named)}; "
    return [f"{warning}to use the sub-folders as classes, set ingest.classes: subfolders"]


def some(names: Sequence[str]) -> str:
    """Returns the first names as one text."""
    return ", ".join(names[:MAX_NAMED]) + (" ..." if len(names) > MAX_NAMED else "")


def wrong_layout(fault: str) -> DataRefusedError:
    """Returns the error for folders that fit no layout."""
    return DataRefusedError(f"{fault}: {LAYOUT}", key="folder-layout")
