"""Checks and converts the columns of numbers: regression targets and weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.core.schema import TARGET, Column
from tasks.data.tables.cells import map_cells, rows_of, select_cells

DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def with_targets(file: Path, table: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """Converts the targets to numbers in prefixed columns, true and false to 1 and 0, and drops the label column."""
    cells = table[list(targets)]
    numbers = cells.apply(_as_numbers).replace([np.inf, -np.inf], np.nan)
    is_wrong = numbers.isna() & cells.notna()
    if is_wrong.any(axis=None):
        name = next(name for name in targets if is_wrong[name].any())
        wrong = map_cells(cells[name][is_wrong[name]], str)
        with_comma = select_cells(wrong, lambda cell: bool(DECIMAL_COMMA.fullmatch(cell)))
        remedy = "; write decimal points" if len(with_comma) else ""
        examples = rows_of(table[Column.PATH][is_wrong[name]] + ": " + wrong)
        raise DataRefusedError(
            f"data.source: {file}: targets must be finite numbers; {name} is not for {examples}{remedy}",
            key="table-targets",
        )
    kept: pd.DataFrame = table.drop(columns=[*targets, *({Column.LABEL} & set(table.columns))])
    marked: pd.DataFrame = pd.concat([kept, numbers.astype(float).add_prefix(TARGET)], axis=1)
    return marked


def _as_numbers(column: pd.Series) -> pd.Series:
    """Converts to numbers, NA for what is none: dates and durations are counts of nanoseconds for pandas."""
    if column.dtype.kind in "mM":
        return pd.Series(np.nan, index=column.index)
    return pd.to_numeric(map_cells(column, _without_truth), errors="coerce").astype(float)


def _without_truth(cell: object) -> object:
    """Returns 1 and 0 for true and false, NaN for a date, and the cell itself otherwise."""
    if isinstance(cell, str):
        return {"true": 1.0, "false": 0.0}.get(cell.strip().casefold(), cell)
    return float(cell) if isinstance(cell, (bool, np.bool_)) else cell if pd.api.types.is_number(cell) else str(cell)


def check_weights(file: Path, table: pd.DataFrame) -> None:
    """Raises DataRefusedError for a weight that is no finite number above 0. Says that rows are weighted."""
    if Column.WEIGHT not in table:
        return
    weight = _as_numbers(table[Column.WEIGHT])
    wrong = table.loc[~weight.between(0, np.inf, inclusive="neither"), Column.PATH]
    if len(wrong):
        raise DataRefusedError(
            f"data.source: {file}: weights must be finite numbers above 0; they are not for {rows_of(wrong)}",
            key="table-weights",
        )
    if weight.min() < weight.max():
        say(f"{file.name}: rows are weighted by the column weight, {weight.min():g} to {weight.max():g}")
