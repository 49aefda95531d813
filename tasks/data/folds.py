"""Divides rows of the manifest into folds, or validation into halves, so that groups stay together.

Shapes: N rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.core.schema import Column

FOLDS = 10  # of cross-validation
MIN_GROUPS = 200  # of validation images, from which one half of them chooses and the other calibrates


def folds_by_group(rows: pd.DataFrame, folds: int = FOLDS) -> np.ndarray:
    """Returns the fold of each manifest row, (N,) int; groups stay together, and labels are spread over the folds."""
    groups = rows.sort_values([Column.LABEL, Column.PIXEL_HASH])[Column.GROUP].drop_duplicates()
    fold = {group: place % folds for place, group in enumerate(groups)}
    return np.array([fold[group] for group in rows[Column.GROUP]])


def choosing_half(validation: pd.DataFrame) -> np.ndarray | None:
    """Returns which validation rows choose the model, (N,) bool; the others calibrate it.

    Returns None if there are fewer than MIN_GROUPS groups, too few to divide.
    """
    if validation[Column.GROUP].nunique() < MIN_GROUPS:
        return None
    return np.asarray(folds_by_group(validation, 2) == 0)
