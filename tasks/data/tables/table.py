"""Reads and checks a table with one row per image.

Columns: `path`, relative to the table's folder; `label`, or the regression targets (data.targets), or columns of 0 and
1 (data.labels); optionally `split`, `group` and `weight`. All others are kept for slices (evaluate.slices). With a
data.separator the data is multi-label: a cell that contains only the separator means no labels, while an empty cell
means that the image is unlabeled.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column
from tasks.data.tables.cells import map_cells, rows_of
from tasks.data.tables.column_types import parse_types
from tasks.data.tables.columns import check_columns, find_label_column, find_path_column, with_own_names
from tasks.data.tables.files import read_frame
from tasks.data.tables.labels import (
    clean_text,
    refuse_lists,
    with_equal_numbers,
    with_label_columns,
    with_separated_labels,
)
from tasks.data.tables.locations import Locations, check_paths, without_dots
from tasks.data.tables.numeric import check_weights, with_targets
from tasks.data.tables.options import TableOptions
from tasks.data.tables.splits import with_splits
from tasks.data.tables.text import normal_name

TEXTS = (Column.PATH, Column.LABEL, Column.SPLIT, Column.GROUP)


class SourceTable(NamedTuple):
    """The rows, and each path as the table writes it, (N,)."""

    rows: pd.DataFrame
    written: pd.Series


def read_table(file: Path, options: TableOptions | None = None) -> SourceTable:
    """Reads and checks a table, and prefixes its targets. Raises DataRefusedError naming the column or row at fault."""
    options = options or TableOptions()
    options.check()
    frame = _frame(file, options)
    locations = Locations(file)
    path = find_path_column(file, frame, options.path, locations.lead_to_files)
    columns = {path: Column.PATH.value}
    check_columns(file, frame, options)
    if options.has_label_column:
        columns[find_label_column(file, frame, options, path)] = Column.LABEL.value
    frame = _typed(file, with_own_names(file, frame, columns, options), options)
    written = frame[Column.PATH]
    check_paths(file, written)
    frame[Column.PATH] = locations.resolve(written)
    _check_repeated(file, frame, written)
    table = _with_answers(file, frame, options)
    check_weights(file, table)
    return SourceTable(table.reset_index(drop=True), written.reset_index(drop=True))


def read_paths(file: Path, column: str | None = None) -> list[str]:
    """Returns the paths of a table's images, "" for an empty cell; `column` is used if the table has it.

    Paths are not checked. Raises DataRefusedError if the table cannot be read, or has no column of paths.
    """
    frame, locations = _frame(file, TableOptions(path=column)), Locations(file)
    name = column if column in frame else None
    cells = map_cells(frame[find_path_column(file, frame, name, locations.lead_to_files)], clean_text)
    return [str(path) for path in locations.resolve(cells).fillna("")]


def _frame(file: Path, options: TableOptions) -> pd.DataFrame:
    names = [options.path, options.label, *options.labels, *options.targets]
    frame = read_frame(file, {normal_name(name) for name in names if name}, keep_blanks=options.keeps_blanks)
    if frame.empty:
        raise DataRefusedError(f"{file} has no rows", key="table-empty")
    return frame


def _typed(file: Path, frame: pd.DataFrame, options: TableOptions) -> pd.DataFrame:
    """Cleans the columns of text, and finds the types of the others if the file has only texts."""
    texts = [name.value for name in TEXTS if name in frame and name not in options.targets]
    refuse_lists(file, frame, texts)
    cleaned = {name: _cleaned(frame[name], keeps_blanks=options.keeps_blanks) for name in texts}
    others = parse_types(file, frame.drop(columns=texts))
    typed = pd.concat([others, pd.DataFrame(cleaned)], axis=1)[list(frame.columns)]
    if Column.LABEL in texts and not options.separator:
        typed[Column.LABEL] = with_equal_numbers(file, typed[Column.LABEL])
    return typed


def _cleaned(column: pd.Series, *, keeps_blanks: bool) -> pd.Series:
    """Returns a column of clean text, in which only the cells of labels may consist of blanks."""
    keeps = keeps_blanks and column.name == Column.LABEL
    return map_cells(column, lambda cell: clean_text(cell, keeps_blanks=keeps)).astype("string")


def _check_repeated(file: Path, frame: pd.DataFrame, written: pd.Series) -> None:
    names = map_cells(frame[Column.PATH], without_dots)
    wrong = written[names.duplicated() | names.isna()].fillna("no path")
    if len(wrong):
        raise DataRefusedError(
            f"data.source: {file}: rows with a missing or repeated path: {rows_of(wrong)}", key="table-repeated-path"
        )


def _with_answers(file: Path, frame: pd.DataFrame, options: TableOptions) -> pd.DataFrame:
    """Adds the targets or labels, and the splits."""
    if options.targets:
        return with_splits(file, with_targets(file, frame, options.targets))
    if options.labels:
        return with_splits(file, with_label_columns(file, frame, options.labels))
    table = with_splits(file, frame)
    return with_separated_labels(file, table, options.separator) if options.separator else table
