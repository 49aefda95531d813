"""A model under corruptions, on some of the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from tasks.parts.corruptions import corrupted
from tasks.parts.manifest import class_numbers
from tasks.parts.names import Column
from tasks.parts.pixels import Squares
from tasks.parts.progress import counted
from tasks.parts.scorer import Scorer

AS_IS = "none"


def under_corruptions(
    scorer: Scorer,
    root: Path,
    rows: pd.DataFrame,
    classes: Sequence[str],
    strengths: Mapping[str, Sequence[float]],
    batch: int,
) -> pd.DataFrame:
    """Accuracy on these rows as they are and under each corruption: corruption, strength, accuracy, images."""
    if rows.empty:
        return pd.DataFrame(columns=["corruption", "strength", "accuracy", "images"])
    prepared = scorer.preprocessing
    square_N3RR = Squares(root, list(rows[Column.PATH]), prepared, memory=0)[range(len(rows))]
    y_N = torch.from_numpy(class_numbers(rows, classes))
    wanted = [(AS_IS, 0.0), *((kind, strength) for kind, own in strengths.items() for strength in own)]
    found = []
    for kind, strength in counted(wanted, len(wanted), "corruptions tried"):
        hits = 0
        for square_B3RR, y_B in zip(torch.split(square_N3RR, batch), torch.split(y_N, batch), strict=True):
            x_B3SS = (
                prepared.normalise(prepared.centre(square_B3RR))
                if kind == AS_IS
                else corrupted(kind, strength, square_B3RR, prepared)
            )
            hits += int((scorer.forward(x_B3SS).argmax(1) == y_B).sum())
        found.append((kind, strength, hits / len(rows), len(rows)))
    return pd.DataFrame(found, columns=["corruption", "strength", "accuracy", "images"])
