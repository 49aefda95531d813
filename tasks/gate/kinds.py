"""Comparison of two models by target kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from tasks.core.target import TargetKind
from tasks.gate.checks import Check
from tasks.gate.comparison import GateCriteria, compare_classes, compare_labels, compare_values

Comparison = Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame, GateCriteria, Sequence[str]], list[Check]]

COMPARISONS: Mapping[TargetKind, Comparison] = {
    TargetKind.CLASSIFICATION: compare_classes,
    TargetKind.MULTILABEL: compare_labels,
    TargetKind.REGRESSION: compare_values,
}
