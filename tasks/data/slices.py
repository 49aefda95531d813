"""Scores told apart by a column of the manifest: where a model that is good on the whole is not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_list_like, is_numeric_dtype

from tasks.core.errors import ParamsError
from tasks.core.schema import Column

MOST_VALUES = 12  # of a column that are slices of their own; numbers beyond that are cut into quarters
OTHERS = "others"


def slices_of(rows: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields a name such as `mode=RGB` and which rows belong to it, (N,) bool, for each value of each column.

    Raises ParamsError for a column that the manifest has not, or whose cells are lists.
    """
    refuse_unknown(rows, columns)
    for column in columns:
        values = _values(rows[column])
        for value in sorted(values.dropna().unique()):
            yield f"{column}={value}", (values == value).fillna(value=False).to_numpy(bool)


def refuse_unknown(rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises ParamsError for a column that the manifest has not, or whose cells are lists."""
    for column in columns:
        if column in rows and rows[column].map(is_list_like).any():
            raise ParamsError(f"evaluate.slices: the cells of {column} are lists; take a column of single values")
        if column not in rows:
            known = ", ".join(name for name in rows.columns if name not in {Column.PATH, Column.SHA256})
            raise ParamsError(f"evaluate.slices: the manifest has no column {column}; it has {known}")


def _values(column: pd.Series) -> pd.Series:
    """Each row's value as text: quarters of a number that takes many values, else the most frequent values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if column.nunique() <= MOST_VALUES:
        return column.astype("string")
    if is_numeric_dtype(column) and not is_bool_dtype(column):
        quarters = pd.qcut(column.astype(float).replace([np.inf, -np.inf], np.nan), 4, duplicates="drop")
        return quarters.cat.rename_categories(_names(quarters.cat.categories)).astype("string")
    frequent = column.value_counts().index[: MOST_VALUES - 1]
    return column.where(column.isin(frequent) | column.isna(), OTHERS).astype("string")


def _names(parts: Collection[pd.Interval]) -> list[str]:
    """Of the intervals, in as few digits as tell them apart."""
    named = ([f"{part.left:.{digits}g} to {part.right:.{digits}g}" for part in parts] for digits in range(4, 18))
    return next(names for names in named if len(set(names)) == len(names))
