"""Slices of the data by manifest column, for finding where a model with a good overall score fails."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_list_like, is_numeric_dtype

from tasks.core.errors import ParamsError
from tasks.core.schema import Column

MAX_VALUES = 12  # slices per column; a numeric column with more values is binned into quartiles
OTHERS = "others"


def slices_of(rows: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a name such as `mode=RGB` and the mask of its rows, (N,) bool, for each value of each column.

    Raises ParamsError if the manifest lacks a column or a column contains lists.
    """
    refuse_unknown(rows, columns)
    for column in columns:
        values = _values(rows[column])
        for value in sorted(values.dropna().unique()):
            yield f"{column}={value}", (values == value).fillna(value=False).to_numpy(bool)


def refuse_unknown(rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises ParamsError if the manifest lacks a column or a column contains lists."""
    for column in columns:
        if column in rows and rows[column].map(is_list_like).any():
            raise ParamsError(
                f"evaluate.slices: the cells of {column} are lists; choose a column of single values",
                key="evaluate.slices",
            )
        if column not in rows:
            columns_there = ", ".join(name for name in rows.columns if name not in {Column.PATH, Column.SHA256})
            raise ParamsError(
                f"evaluate.slices: the manifest has no column {column}; it has {columns_there}", key="evaluate.slices"
            )


def _values(column: pd.Series) -> pd.Series:
    """Returns each row's value as text: quartiles for numbers with many values, else the most frequent values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if column.nunique() <= MAX_VALUES:
        return column.astype("string")
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        quartiles = pd.qcut(column.astype(float).replace([np.inf, -np.inf], np.nan), 4, duplicates="drop")
        return quartiles.cat.rename_categories(_names(quartiles.cat.categories)).astype("string")
    frequent = column.value_counts().index[: MAX_VALUES - 1]
    return column.where(column.isin(frequent) | column.isna(), OTHERS).astype("string")


def _names(intervals: Collection[pd.Interval]) -> list[str]:
    """Names the intervals with the fewest digits, at least four, that keep the names distinct."""
    rounded = ([f"{each.left:.{digits}g} to {each.right:.{digits}g}" for each in intervals] for digits in range(4, 18))
    return next(names for names in rounded if len(set(names)) == len(names))
