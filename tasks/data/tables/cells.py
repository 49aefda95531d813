"""Applies functions to the cells of a column, and names examples of them in messages."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

SHOWN = 3


def is_missing(cell: object) -> bool:
    """Returns whether the cell is empty; lists and objects are not."""
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and math.isnan(cell))


def map_cells(column: pd.Series, function: Callable[[Any], object]) -> pd.Series:
    """Applies `function` to each cell that is not missing. Returns a column of objects, None where it is missing."""
    cells = [None if is_missing(cell) else function(cell) for cell in column.tolist()]
    return pd.Series(cells, index=column.index, dtype=object)


def select_cells(column: pd.Series, predicate: Callable[[Any], bool]) -> pd.Series:
    """Returns the cells that are not missing and for which `predicate` holds."""
    return column[[not is_missing(cell) and predicate(cell) for cell in column.tolist()]]


def column_names(frame: pd.DataFrame) -> list[str]:
    """Returns the names of the columns as text."""
    return [str(name) for name in frame.columns]


def listed(names: Sequence[object]) -> str:
    """Joins the first three names, with dots if there are more."""
    return ", ".join(map(str, names[:SHOWN])) + (" ..." if len(names) > SHOWN else "")


def rows_of(cells: pd.Series) -> str:
    """Names the first three cells and their places, which the index and its name say: `a.png (line 2)`."""
    first = cells[: SHOWN + 1]
    return listed([f"{cell} ({cells.index.name} {place})" for place, cell in first.items()])
