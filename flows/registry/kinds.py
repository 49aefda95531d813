"""Registration, verdict, summary and model card by kind of target. Shapes: N images, C classes, K targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypedDict

from tasks.core.schema import ANSWER, LABEL_PROBABILITY, Column, Metric
from tasks.core.target import TargetKind, TargetSpec
from tasks.evaluation.version_scorer import scorer_thresholds
from tasks.scorer.labels import LABELS_JOINED

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from mlflow.types import ColSpec
    from torch import Tensor


class SummaryColumn(NamedTuple):
    """A metric in the summary table: its heading and the format of its values."""

    metric: Metric
    heading: str
    number_format: str


class SpecRecord(TypedDict):
    """The part of spec.json that describes a model's answers."""

    classes: list[str]
    targets: list[str]
    label_thresholds: list[float]


# The first of the metrics that a model has is shown with its interval.
SUMMARY_COLUMNS: Mapping[TargetKind, tuple[SummaryColumn, ...]] = {
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
        SummaryColumn(Metric.SCALED_MAE, "mean abs. error, in std", ".4g"),
        SummaryColumn(Metric.RMSE, "RMSE", ".4g"),
        SummaryColumn(Metric.R2, "R²", ".3f"),
    ),
}
ANSWER_TEXTS: Mapping[TargetKind, str] = {  # output, for the model card
    TargetKind.CLASSIFICATION: (
        "Output: label, probability, whether it reaches the confidence threshold, and distribution."
    ),
    TargetKind.MULTILABEL: (
        "Output: all labels whose probability reaches their own threshold (label_thresholds in the model's spec.json), "
        "the lowest of their probabilities, and the probability of each label. Accuracy is the fraction of images with "
        "exactly the right labels."
    ),
    TargetKind.REGRESSION: "Output: a number per target.",
}


def label_columns(_target: TargetSpec) -> list[ColSpec]:
    """Returns the columns of a classifier's answer, including multi-label classifiers."""
    from mlflow.types import ColSpec, DataType
    from mlflow.types.schema import Map

    return [
        ColSpec("string", "label"),
        ColSpec("double", "probability"),
        ColSpec("boolean", "confident"),
        ColSpec(Map(DataType.double), "distribution"),
        ColSpec("string", "error", required=False),
    ]


def value_columns(target: TargetSpec) -> list[ColSpec]:
    """Returns the columns of a regression model's answer."""
    from mlflow.types import ColSpec

    error = "reason" if "error" in target.targets else "error"  # no target is called reason
    return [*(ColSpec("double", name) for name in target.targets), ColSpec("string", error, required=False)]


ANSWER_COLUMNS: Mapping[TargetKind, Callable[[TargetSpec], list[ColSpec]]] = {
    TargetKind.CLASSIFICATION: label_columns,
    TargetKind.MULTILABEL: label_columns,
    TargetKind.REGRESSION: value_columns,
}


def probability_difference(answers: pd.DataFrame, evaluated: pd.DataFrame, _target: TargetSpec) -> float:
    """Returns the largest absolute difference between probabilities."""
    return float(abs(_distributions(answers) - _distributions(evaluated)).max())


def value_difference(answers: pd.DataFrame, evaluated: pd.DataFrame, target: TargetSpec) -> float:
    """Returns the largest absolute difference between target values, in units of each target's standard deviation."""
    evaluated_NK = evaluated[[f"{ANSWER}{name}" for name in target.targets]].to_numpy()
    answer_NK = answers[list(target.targets)].to_numpy()
    return float((abs(answer_NK - evaluated_NK) / (evaluated_NK.std(0) + 1e-9)).max())


def _distributions(table: pd.DataFrame) -> np.ndarray:
    import pandas as pd

    return pd.DataFrame(table[Column.DISTRIBUTION].tolist()).to_numpy()


DIFFERENCES: Mapping[TargetKind, Callable[[pd.DataFrame, pd.DataFrame, TargetSpec], float]] = {
    TargetKind.CLASSIFICATION: probability_difference,
    TargetKind.MULTILABEL: probability_difference,
    TargetKind.REGRESSION: value_difference,
}


def evaluated_classes(predictions: pd.DataFrame, spec: SpecRecord) -> pd.DataFrame:
    """Returns the evaluated classes and probabilities of the labels, as `class_answers` does."""
    import pandas as pd

    from tasks.gate.class_answers import answer_table, class_answers

    if Column.DISTRIBUTION in predictions:
        return class_answers(_distributions(predictions), predictions[Column.LABEL], spec["classes"])
    predicted = pd.Categorical(predictions[Column.PREDICTED], spec["classes"])
    return answer_table(predicted, predictions[LABEL_PROBABILITY].to_numpy())


def evaluated_labels(predictions: pd.DataFrame, spec: SpecRecord) -> pd.DataFrame:
    """Returns whether each label was predicted, (N, C) bool, with a column per label."""
    import numpy as np
    import pandas as pd

    if Column.DISTRIBUTION in predictions:
        probabilities = pd.DataFrame(_distributions(predictions), columns=spec["classes"])
        return probabilities.ge(spec["label_thresholds"])
    classes, names = spec["classes"], predictions[Column.PREDICTED].str.split(LABELS_JOINED).explode()
    number_M = pd.Index(classes).get_indexer(pd.Index(names))
    is_selected_NC = np.zeros((len(predictions), len(classes)), bool)
    is_selected_NC[names.index[number_M >= 0], number_M[number_M >= 0]] = True  # without labels: an empty name
    return pd.DataFrame(is_selected_NC, columns=classes)


def evaluated_values(predictions: pd.DataFrame, spec: SpecRecord) -> pd.DataFrame:
    """Returns the evaluated values, (N, K), with a column per target."""
    names = {f"{ANSWER}{name}": name for name in spec["targets"]}
    return predictions[list(names)].rename(columns=names)


EVALUATED_ANSWERS: Mapping[TargetKind, Callable[[pd.DataFrame, SpecRecord], pd.DataFrame]] = {
    TargetKind.CLASSIFICATION: evaluated_classes,
    TargetKind.MULTILABEL: evaluated_labels,
    TargetKind.REGRESSION: evaluated_values,
}


class LoadedScorer(Protocol):
    """The part of a version's own scorer that describes its outputs."""

    classes: tuple[str, ...]
    targets: tuple[str, ...]


def live_classes(output_NC: Tensor, rows: pd.DataFrame, scorer: LoadedScorer) -> pd.DataFrame:
    """Returns the classes and the probabilities of the labels, as `class_answers` does."""
    from tasks.gate.class_answers import class_answers

    labels = rows.reindex(columns=[Column.LABEL])[Column.LABEL]  # images with targets have none
    return class_answers(output_NC.numpy(), labels, scorer.classes)


def live_labels(output_NC: Tensor, _rows: pd.DataFrame, scorer: LoadedScorer) -> pd.DataFrame:
    """Returns whether each label is predicted, (N, C) bool, with a column per label."""
    import pandas as pd

    is_selected_NC = output_NC >= output_NC.new_tensor(scorer_thresholds(scorer))
    return pd.DataFrame(is_selected_NC.numpy(), columns=list(scorer.classes))


def live_values(output_NK: Tensor, _rows: pd.DataFrame, scorer: LoadedScorer) -> pd.DataFrame:
    """Returns the values, (N, K), with a column per target."""
    import pandas as pd

    return pd.DataFrame(output_NK.numpy(), columns=list(scorer.targets))


# From outputs of a version's own scorer, (N, C) or (N, K), and rows of the manifest, as EVALUATED_ANSWERS.
LIVE_ANSWERS: Mapping[TargetKind, Callable[[Tensor, pd.DataFrame, LoadedScorer], pd.DataFrame]] = {
    TargetKind.CLASSIFICATION: live_classes,
    TargetKind.MULTILABEL: live_labels,
    TargetKind.REGRESSION: live_values,
}
