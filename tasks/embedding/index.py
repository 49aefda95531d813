"""Lists the rows of the feature matrix: the embedded images and their views."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.core.errors import ParamsError
from tasks.core.schema import HAS, LABELED_SPLITS, TARGET, Column
from tasks.data.manifest import label_names, target_names, usable
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS


def rows_to_embed(manifest: pd.DataFrame, plan: pd.DataFrame, views: int) -> pd.DataFrame:
    """Returns a row for each usable labeled image and for the first `views` planned views of training images.

    Rows are in manifest order, then by view. Raises ParamsError if fewer views are planned.
    """
    planned = int(plan[Column.VIEW].max())
    if views > planned:
        raise ParamsError(
            f"features.views is {views}, but only {planned} are planned: raise augment.views", key="features.views"
        )
    rows = usable(manifest)
    rows = rows.loc[
        rows[Column.SPLIT].isin(LABELED_SPLITS),
        [
            *(Column.PATH, Column.SHA256, Column.PIXEL_HASH, Column.LABEL, Column.SPLIT, Column.WEIGHT),
            *(f"{TARGET}{name}" for name in target_names(rows)),
            *(f"{HAS}{name}" for name in label_names(rows)),
        ],
    ]
    clean = rows.assign(**{Column.VIEW: 0, **dict(zip(VIEW_PARAMETERS, CLEAN, strict=True))})
    drawn = rows.merge(plan.loc[plan[Column.VIEW] <= views].drop(columns=Column.PIXEL_HASH), on=Column.PATH)
    order = {path: place for place, path in enumerate(rows[Column.PATH])}
    both = pd.concat([clean, drawn])
    return both.iloc[np.lexsort([both[Column.VIEW], both[Column.PATH].map(order)])].reset_index(drop=True)
