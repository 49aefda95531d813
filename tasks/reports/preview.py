"""Writes the preview sheet: sample images beside their augmented views.

Shapes: N views, R side of the resized square, P view parameters.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from tasks.core.schema import Column
from tasks.images.loading import ImageSquares
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS, RenderStyle, view
from tasks.reports.image_sheets import sheet
from tasks.scorer.preprocessing import Preprocessing

IMAGES, VIEWS = 8, 6


def preview(target: Path, root: Path, plan: pd.DataFrame, preprocessing: Preprocessing, style: RenderStyle) -> None:
    """Writes a sheet with one row per image of the plan: the clean image, then its first views."""
    planned = list(dict.fromkeys(plan[Column.PATH]))
    chosen = planned[:: max(1, len(planned) // IMAGES)][:IMAGES]
    squares = ImageSquares(root, chosen, preprocessing, memory=0)
    rows = []
    for number, path in enumerate(chosen):
        drawn = plan.loc[plan[Column.PATH] == path, list(VIEW_PARAMETERS)].head(VIEWS).to_numpy()
        draw_NP = torch.tensor([CLEAN, *drawn.tolist()])
        square_N3RR = squares[[number]].expand(len(draw_NP), -1, -1, -1)
        rows.append(view(square_N3RR, draw_NP, preprocessing.crop, style).numpy())
    sheet(target, rows, titles=["clean", *(f"view {n}" for n in range(1, len(rows[0])))])
