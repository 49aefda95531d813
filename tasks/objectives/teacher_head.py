"""Fits the head of a teacher that has none. Shapes: N rows, D features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from tasks.core.target import TargetSpec
from tasks.heads.kinds import LinearFit, fit_linear, standardize, unstandardize_head
from tasks.heads.linear import Rows, Train, best

L2_PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)  # penalties of the head fitted for a teacher without a head


@dataclass(frozen=True)
class FittedHead:
    """A head and the settings for rebuilding it."""

    head: nn.Module
    settings: dict[str, Any]


def fit_head(train: Train, validation: Rows, target: TargetSpec) -> FittedHead:
    """Fits the best linear head on a teacher's features (N, D); its outputs are in the targets' original units."""
    (x_ND, y, weight_N), (x_VD, y_V) = train, validation
    rows = ((x_ND, standardize(y, target), weight_N), (x_VD, standardize(y_V, target)))
    head, scaling = unstandardize_head(best(fit_linear(*rows, LinearFit(target, L2_PENALTIES))).head, target)
    return FittedHead(head, {"kind": "linear", **scaling})
