"""Scores the tuned model under corruptions, on a sample of the test images. Shapes: N images, B images per batch."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pandas as pd
import torch
from torch import Tensor

from tasks.core.progress import counted
from tasks.core.schema import Column, Metric
from tasks.evaluation.candidates import EvaluationInput, sample_rows
from tasks.images.corruptions import corrupted
from tasks.images.loading import ImageSquares
from tasks.scorer.answer import Scorer

AS_IS = "none"
ImageScore = Callable[[Tensor, Tensor], Tensor]  # maps a batch's outputs and labels to a score per image, (B,)


def score_under_corruptions(
    case: EvaluationInput, metric: Metric, image_score: ImageScore, skipped: Collection[str] = ()
) -> pd.DataFrame:
    """Returns the mean score on clean images and under each corruption not in `skipped`, one row each.

    Columns: corruption, strength, the metric, images.
    """
    columns, rows = ["corruption", "strength", metric, "images"], sample_rows(case.test, case.section.corrupted)
    if rows.empty:
        return pd.DataFrame(columns=columns)
    square_N3RR = ImageSquares(case.paths.raw, list(rows[Column.PATH]), case.tuned.preprocessing, memory=0)[
        range(len(rows))
    ]
    y_N = torch.from_numpy(case.target.encode(rows))
    corruptions = [(kind, strength) for kind, strengths in case.section.corruptions for strength in strengths]
    trials = [(AS_IS, 0.0), *((kind, strength) for kind, strength in corruptions if kind not in skipped)]
    scores = []
    for kind, strength in counted(trials, len(trials), "corruptions scored"):
        total = 0.0
        for square_B3RR, y_B in zip(torch.split(square_N3RR, case.batch), torch.split(y_N, case.batch), strict=True):
            output_B = _outputs(case.tuned, square_B3RR, kind, strength)
            total += float(image_score(output_B, y_B).sum())
        scores.append((kind, strength, total / len(rows), len(rows)))
    return pd.DataFrame(scores, columns=columns)


def _outputs(scorer: Scorer, square_B3RR: Tensor, kind: str, strength: float) -> Tensor:
    prepare = scorer.preprocessing
    is_clean = kind == AS_IS
    return scorer.forward(
        prepare.network_input(square_B3RR) if is_clean else corrupted(kind, strength, square_B3RR, prepare)
    )
