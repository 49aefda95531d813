"""A model under corruptions, on some of the test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from tasks.core.progress import counted
from tasks.core.schema import Column
from tasks.images.corruptions import corrupted
from tasks.images.loading import Squares
from tasks.scorer.answer import Scorer

AS_IS = "none"


def under_corruptions(
    scorer: Scorer,
    root: Path,
    rows: pd.DataFrame,
    truth: Tensor,
    strengths: Mapping[str, Sequence[float]],
    batch: int,
    column: str,
    measure: Callable[[Tensor, Tensor], Tensor],
) -> pd.DataFrame:
    """A score on these rows as they are and under each corruption: corruption, strength, score, images.

    `measure` gives an image's score, (N,), from outputs and truth; `column` is the name of its mean.
    """
    columns = ["corruption", "strength", column, "images"]
    if rows.empty:
        return pd.DataFrame(columns=columns)
    prepared = scorer.preprocessing
    square_N3RR = Squares(root, list(rows[Column.PATH]), prepared, memory=0)[range(len(rows))]
    wanted = [(AS_IS, 0.0), *((kind, strength) for kind, own in strengths.items() for strength in own)]
    found = []
    for kind, strength in counted(wanted, len(wanted), "corruptions tried"):
        total = 0.0
        for square_B3RR, y_B in zip(torch.split(square_N3RR, batch), torch.split(truth, batch), strict=True):
            x_B3SS = (
                prepared.network_input(square_B3RR)
                if kind == AS_IS
                else corrupted(kind, strength, square_B3RR, prepared)
            )
            total += float(measure(scorer.forward(x_B3SS), y_B).sum())
        found.append((kind, strength, total / len(rows), len(rows)))
    return pd.DataFrame(found, columns=columns)
