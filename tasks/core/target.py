"""The prediction target: one of several classes, multiple labels, or numbers. Plain data, without torch.

Shapes: N images, C classes, K targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import numpy as np

from tasks.core.files import read_json, write_json
from tasks.core.schema import HAS, TARGET, Column

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


class TargetKind(StrEnum):
    """The problem type. Code that depends on it uses a table keyed by kind instead of comparing kinds."""

    CLASSIFICATION = "classification"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"


def kind_of(spec: Mapping[str, object]) -> TargetKind:
    """Derives the kind from the keys of a model's spec.json, which does not store it; old files lack some keys."""
    if spec.get("targets"):
        return TargetKind.REGRESSION
    return TargetKind.MULTILABEL if spec.get("label_thresholds") else TargetKind.CLASSIFICATION


@dataclass(frozen=True)
class TargetSpec:
    """The classes in logit order, or the regression targets with their training mean and standard deviation.

    Ingest writes it once, to task.json; every later stage reads that file.
    """

    kind: TargetKind = TargetKind.CLASSIFICATION
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    mean_K: tuple[float, ...] = ()
    std_K: tuple[float, ...] = ()

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads task.json."""
        fields = read_json(file)
        return cls(TargetKind(fields.pop("kind")), **{name: tuple(values) for name, values in fields.items()})

    def save(self, file: Path) -> None:
        """Writes task.json."""
        write_json(file, asdict(self))

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the classes or regression targets, in the order of the network's outputs."""
        return self.classes or self.targets

    @property
    def num_outputs(self) -> int:
        """Returns the width of the network's output: C logits or K values."""
        return len(self.names)

    @property
    def summary(self) -> str:
        """Describes the prediction target: `10 classes`, `3 labels`, `targets width, height`."""
        return SUMMARIES[self.kind].format(count=self.num_outputs, names=", ".join(self.names))

    def encode(self, rows: pd.DataFrame) -> np.ndarray:
        """Encodes the labels of N manifest rows: (N,) int64, -1 for an unknown class; (N, C) or (N, K) float32."""
        return ENCODERS[self.kind](rows, self.names)

    def describe(self, score: float) -> str:
        """Formats a validation score with the name of its metric."""
        return SCORES[self.kind].format(score)


def encode_classes(rows: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    """Returns each row's class index, (N,) int64; -1 for a label that is not in `classes`."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index.get(label, -1) for label in rows[Column.LABEL]], np.int64)


def encode_labels(rows: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    """Returns 1 where a row has a label and 0 elsewhere, (N, C) float32."""
    return rows[[f"{HAS}{name}" for name in classes]].to_numpy(float).astype(np.float32)


def encode_values(rows: pd.DataFrame, targets: tuple[str, ...]) -> np.ndarray:
    """Returns each row's targets, (N, K) float32."""
    return rows[[f"{TARGET}{name}" for name in targets]].to_numpy(float).astype(np.float32)


ENCODERS: Mapping[TargetKind, Callable[[pd.DataFrame, tuple[str, ...]], np.ndarray]] = {
    TargetKind.CLASSIFICATION: encode_classes,
    TargetKind.MULTILABEL: encode_labels,
    TargetKind.REGRESSION: encode_values,
}
SUMMARIES: Mapping[TargetKind, str] = {
    TargetKind.CLASSIFICATION: "{count} classes",
    TargetKind.MULTILABEL: "{count} labels",
    TargetKind.REGRESSION: "targets {names}",
}
SCORES: Mapping[TargetKind, str] = {
    TargetKind.CLASSIFICATION: "validation accuracy {:.1%}",
    TargetKind.MULTILABEL: "validation macro F1 {:.3f}",
    TargetKind.REGRESSION: "validation R² {:.3f}",
}
