"""Finds the columns of paths and labels by their names, and renames columns that Rootstock uses itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.core.schema import ANSWER, HAS, TARGET, Column
from tasks.data.tables.cells import column_names, is_missing, listed
from tasks.data.tables.options import TableOptions
from tasks.data.tables.text import normal_name

SOURCE_COLUMNS = {Column.PATH, Column.LABEL, Column.SPLIT, Column.GROUP, Column.WEIGHT}
RESERVED = set(Column) - SOURCE_COLUMNS
ANSWER_COLUMNS = {Column.PATH, Column.REASON, Column.DISTRIBUTION}  # stand beside the targets in predictions.parquet
VAGUE_NAMES = frozenset({"id", "name", "key", "uid", "uuid"})  # name the images only if they lead to files
PATH_NAMES = (
    VAGUE_NAMES
    | frozenset(
        f"{thing}{part}"
        for thing in ("image", "img", "picture", "photo", "file")
        for part in ("", "path", "name", "file", "filename", "filepath", "id")
    )
    | {"path", "fname", "relpath", "relativepath"}
)
LABEL_NAMES = frozenset(
    f"{thing}{part}" for thing in ("label", "class", "category", "target") for part in ("", "name", "id", "label")
) | {"labels", "classes", "categories", "species", "tag", "tags", "breed", "diagnosis", "groundtruth", "y"}


def find_path_column(
    file: Path, frame: pd.DataFrame, name: str | None, leads_to_files: Callable[[pd.Series], bool]
) -> str:
    """Returns the column that names the images: `name`, `path`, or the only one with a usual name that fits.

    Among several, or for a vague name such as `id`, a column fits if its cells lead to files. Raises DataRefusedError.
    """
    if name is not None:
        return _named(file, frame, name, "data.path")
    if Column.PATH in frame:
        return Column.PATH.value
    usual = [column for column in column_names(frame) if normal_name(column) in PATH_NAMES]
    sure = [column for column in usual if normal_name(column) not in VAGUE_NAMES]
    if not usual:
        raise DataRefusedError(
            f"data.path: {file} has no column {Column.PATH}; it has {_names(frame)}. "
            "Set data.path to the column that names the images",
            key="data.path",
        )
    if len(usual) > 1 or not sure:
        fitting = [column for column in usual if leads_to_files(frame[column])]
        usual = fitting or sure or usual
    if len(usual) > 1:
        raise DataRefusedError(
            f"data.path: which column of {file} names the images: {' or '.join(usual)}? Set data.path to it",
            key="data.path",
        )
    return usual[0]


def find_label_column(file: Path, frame: pd.DataFrame, options: TableOptions, path: str) -> str:
    """Returns the label column: data.label, `label`, or the only one with a usual name. Raises DataRefusedError."""
    if options.label is not None:
        return _named(file, frame, options.label, "data.label")
    if Column.LABEL in frame:
        return Column.LABEL.value
    usual = [name for name in column_names(frame) if normal_name(name) in LABEL_NAMES and name != path]
    if len(usual) > 1:
        raise DataRefusedError(
            f"data.label: which column of {file} contains the labels: {' or '.join(usual)}? Set data.label to it",
            key="data.label",
        )
    if not usual:
        raise DataRefusedError(
            f"data.label: {file} has no column {Column.LABEL}; it has {_names(frame)}. {_advice(frame)}",
            key="data.label",
        )
    return usual[0]


def has_usual_labels(frame: pd.DataFrame) -> bool:
    """Returns whether a column has a usual name of labels."""
    return any(normal_name(name) in LABEL_NAMES for name in column_names(frame))


def check_columns(file: Path, frame: pd.DataFrame, options: TableOptions) -> None:
    """Raises DataRefusedError if a column of data.labels or data.targets is missing, or cannot be a target."""
    for key, names in (("data.labels", options.labels), ("data.targets", options.targets)):
        if missing := [name for name in names if name not in frame]:
            raise DataRefusedError(
                f"{key}: {file} has no column {' or '.join(missing)}; it has {_names(frame)}", key=key
            )
    if clash := [name for name in options.targets if name in ANSWER_COLUMNS]:
        raise DataRefusedError(
            f"data.targets: {file}: rename {', '.join(clash)}: predictions have a column of this name",
            key="table-reserved-column",
        )


def with_own_names(file: Path, frame: pd.DataFrame, columns: dict[str, str], options: TableOptions) -> pd.DataFrame:
    """Names the path and the label column as Rootstock does, and renames other columns whose names it uses itself.

    `columns` maps their present names. Says what was found and what was renamed.
    """
    renamed: dict[str, str] = {}
    numbers = {*options.labels, *options.targets}  # get a prefix
    reserved = {*RESERVED, *columns.values(), *([Column.LABEL] if options.labels else [])}
    for name in column_names(frame):
        if name in columns or name in numbers:
            continue
        if name in reserved or name.startswith((HAS, TARGET, ANSWER)):
            renamed[name] = _free(f"table_{name}", frame)
    unusual = [f"the {role} column is {name}" for name, role in columns.items() if name != role]
    if unusual:
        say(f"{file.name}: {', '.join(unusual)}")
    if renamed:
        pairs = [f"{name} is kept as {new}" for name, new in renamed.items()]
        say(f"{file.name}: Rootstock uses some of these column names itself: {listed(pairs)}")
    return frame.rename(columns=renamed | columns)


def _free(name: str, frame: pd.DataFrame) -> str:
    while name in frame:
        name += "_"
    return name


def _named(file: Path, frame: pd.DataFrame, name: str, key: str) -> str:
    if name not in frame:
        raise DataRefusedError(f"{key}: {file} has no column {name}; it has {_names(frame)}", key=key)
    return name


def _advice(frame: pd.DataFrame) -> str:
    """Returns how to name the labels; several columns of 0 and 1 are probably several labels per image."""
    binary = [name for name in column_names(frame) if _is_binary(frame[name])]
    if len(binary) > 1:
        return f"If the columns of 0 and 1 are labels, set data.labels: [{', '.join(binary)}]"
    return "Set data.label to the column of classes; to predict numbers, name their columns in data.targets"


def _is_binary(column: pd.Series) -> bool:
    values = {str(cell).strip().casefold() for cell in column[:1000].tolist() if not is_missing(cell)} - {""}
    return bool(values) and values <= {"0", "1", "0.0", "1.0", "true", "false"}


def _names(frame: pd.DataFrame) -> str:
    return ", ".join(column_names(frame))
