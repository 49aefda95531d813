"""Writes the preview: sample images beside their augmented views, as a sheet and as numbers.

Shapes: V views, R side of the resized square, P view parameters.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from tasks.core.files import replacing
from tasks.core.paths import Paths
from tasks.core.schema import Column
from tasks.core.sections import AugmentPolicy
from tasks.images.loading import ImageSquares
from tasks.images.transforms import VIEW_PARAMETERS, RenderStyle, view
from tasks.images.views import sample_views
from tasks.reports.image_sheets import sheet
from tasks.scorer.preprocessing import Preprocessing

IMAGES, VIEWS = 8, 6


def preview(paths: Paths, train: pd.DataFrame, policy: AugmentPolicy, preprocessing: Preprocessing) -> None:
    """Writes a sheet with one row per sample image, the clean one and its first views, and their parameters."""
    chosen = train.iloc[:: max(1, len(train) // IMAGES)].head(IMAGES)
    squares = ImageSquares(paths.raw, list(chosen[Column.PATH]), preprocessing, memory=0)
    numbers = np.arange(min(VIEWS, policy.views) + 1)
    pictures, tables = [], []
    for row, (path, pixels) in enumerate(zip(chosen[Column.PATH], chosen[Column.PIXEL_HASH], strict=True)):
        draw_VP = sample_views([pixels] * len(numbers), numbers.tolist(), policy)
        square_V3RR = squares[[row]].expand(len(numbers), -1, -1, -1)
        drawn = view(square_V3RR, torch.from_numpy(draw_VP).float(), preprocessing.crop, RenderStyle.of(policy))
        pictures.append(drawn.numpy())
        table = pd.DataFrame(draw_VP, columns=list(VIEW_PARAMETERS))
        tables.append(pd.concat([pd.DataFrame({Column.PATH: path, Column.VIEW: numbers}), table], axis=1).iloc[1:])
    sheet(paths.preview, pictures, titles=["clean", *(f"view {number}" for number in numbers[1:])])
    with replacing(paths.plan) as beside:
        pd.concat(tables).to_parquet(beside, index=False)
