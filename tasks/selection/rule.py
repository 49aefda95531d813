"""The rule of the choice: the quickest option whose score is within one paired standard error of the best.

After the one-standard-error rule (Breiman et al., "Classification and Regression Trees", 1984). Shapes: U parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.selection.options import Option

SHORTLISTED = 2.0  # paired standard errors from the best, within which options are scored on more images


@dataclass(frozen=True)
class Scored:
    """An option with its score in parts, (U,), on that many images, and its cost: FLOPs for an image."""

    option: Option
    part_U: np.ndarray
    images: int
    flops: float

    @property
    def score(self) -> float:
        """Returns the score: the mean of the parts."""
        return float(self.part_U.mean())

    @property
    def standard_error(self) -> float:
        """Returns the standard error of the score."""
        return standard_error(self.part_U)


def standard_error(part_U: np.ndarray) -> float:
    """Returns the standard error of the mean of parts (U,)."""
    return float(part_U.std(ddof=1) / np.sqrt(len(part_U))) if len(part_U) > 1 else float("inf")


def within(scored: Sequence[Scored], errors: float) -> list[Scored]:
    """Returns the options whose score is at most `errors` paired standard errors below the best, in order."""
    best = max(scored, key=lambda each: each.score)
    gaps = [best.part_U - each.part_U for each in scored]
    return [each for each, gap_U in zip(scored, gaps, strict=True) if gap_U.mean() <= errors * standard_error(gap_U)]


def chosen(scored: Sequence[Scored]) -> Scored:
    """Returns the quickest option within one paired standard error of the best."""
    return min(within(scored, 1.0), key=lambda each: each.flops)
