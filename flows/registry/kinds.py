"""What registration, verdict, summary and model card do by kind of target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.core.schema import ANSWER, Column, Metric
from tasks.core.target import TargetKind, TargetSpec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from mlflow.types import ColSpec


class SummaryColumn(NamedTuple):
    """A metric in the table at the end of a run: its heading and the format of its values."""

    metric: Metric
    heading: str
    number_format: str


SUMMARY_COLUMNS: Mapping[TargetKind, tuple[SummaryColumn, ...]] = {  # the first one with its interval
    TargetKind.CLASSIFICATION: (
        SummaryColumn(Metric.ACCURACY, "test accuracy", ".1%"),
        SummaryColumn(Metric.MACRO_F1, "macro F1", ".3f"),
        SummaryColumn(Metric.ECE, "ECE", ".3f"),
    ),
    TargetKind.MULTILABEL: (
        SummaryColumn(Metric.ACCURACY, "exactly right", ".1%"),
        SummaryColumn(Metric.MACRO_F1, "macro F1", ".3f"),
        SummaryColumn(Metric.MAP, "mAP", ".3f"),
    ),
    TargetKind.REGRESSION: (
        SummaryColumn(Metric.MAE, "mean abs. error", ".4g"),
        SummaryColumn(Metric.RMSE, "RMSE", ".4g"),
        SummaryColumn(Metric.R2, "R²", ".3f"),
    ),
}
ANSWER_TEXTS: Mapping[TargetKind, str] = {  # of the model card: what goes in and comes out
    TargetKind.CLASSIFICATION: (
        "Image bytes in; label, probability, whether that is confident enough, and distribution out."
    ),
    TargetKind.MULTILABEL: (
        "Image bytes in; out come all labels whose probability reaches their own threshold (label_thresholds in "
        "the model's spec.json), the probability of the least sure of them, and that of each label. Accuracy "
        "is the share of images with exactly the right labels."
    ),
    TargetKind.REGRESSION: "Image bytes in; numbers out.",
}


def label_columns(_target: TargetSpec) -> list[ColSpec]:
    """Returns the columns of an answer in classes."""
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Map

    return [
        ColSpec("string", "label"),
        ColSpec("double", "probability"),
        ColSpec("boolean", "confident"),
        ColSpec(Map(DataType.double), "distribution"),
    ]


def value_columns(target: TargetSpec) -> list[ColSpec]:
    """Returns the columns of an answer in numbers."""
    from mlflow.types import ColSpec

    return [ColSpec("double", name) for name in target.targets]


ANSWER_COLUMNS: Mapping[TargetKind, Callable[[TargetSpec], list[ColSpec]]] = {
    TargetKind.CLASSIFICATION: label_columns,
    TargetKind.MULTILABEL: label_columns,
    TargetKind.REGRESSION: value_columns,
}


def probability_difference(answers: pd.DataFrame, evaluated: pd.DataFrame, _target: TargetSpec) -> float:
    """Returns the largest difference of a probability."""
    return float(abs(_distributions(answers) - _distributions(evaluated)).max())


def value_difference(answers: pd.DataFrame, evaluated: pd.DataFrame, target: TargetSpec) -> float:
    """Returns the largest difference of a target, in units of its standard deviation."""
    then_NK = evaluated[[f"{ANSWER}{name}" for name in target.targets]].to_numpy()
    now_NK = answers[list(target.targets)].to_numpy()
    return float((abs(now_NK - then_NK) / (then_NK.std(0) + 1e-9)).max())


def _distributions(table: pd.DataFrame) -> np.ndarray:
    import pandas as pd

    return pd.DataFrame(table[Column.DISTRIBUTION].tolist()).to_numpy()


DIFFERENCES: Mapping[TargetKind, Callable[[pd.DataFrame, pd.DataFrame, TargetSpec], float]] = {
    TargetKind.CLASSIFICATION: probability_difference,
    TargetKind.MULTILABEL: probability_difference,
    TargetKind.REGRESSION: value_difference,
}


def evaluated_probabilities(predictions: pd.DataFrame, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the evaluated probabilities, (N, C), a column a class."""
    import pandas as pd

    return pd.DataFrame(predictions[Column.DISTRIBUTION].tolist(), columns=spec["classes"])


def evaluated_labels(predictions: pd.DataFrame, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Returns whether each label was predicted, (N, C) bool, a column a label."""
    return evaluated_probabilities(predictions, spec).ge(spec["label_thresholds"])


def evaluated_values(predictions: pd.DataFrame, spec: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the evaluated numbers, (N, K), a column a target."""
    names = {f"{ANSWER}{name}": name for name in spec["targets"]}
    return predictions[list(names)].rename(columns=names)


EVALUATED_ANSWERS: Mapping[TargetKind, Callable[[pd.DataFrame, Mapping[str, Any]], pd.DataFrame]] = {
    TargetKind.CLASSIFICATION: evaluated_probabilities,
    TargetKind.MULTILABEL: evaluated_labels,
    TargetKind.REGRESSION: evaluated_values,
}
