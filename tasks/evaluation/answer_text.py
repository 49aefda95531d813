"""A model's answer for one picture in words, by what it predicts. Shapes: C classes, K targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tasks.core.schema import Column
from tasks.core.target import TargetKind

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.evaluation.batch_prediction import Streaming

RANKED = 3  # classes in a line: the predicted one and the runners-up


def class_line(scorer: Streaming, logits_C: Tensor) -> str:
    """Returns the predicted class and the runners-up with their probabilities."""
    probability_C = scorer.calibrated(logits_C)
    best = probability_C.topk(min(RANKED, len(scorer.classes)))
    ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    first, *others = [f"{scorer.classes[place]} {probability:.1%}" for probability, place in ranked]
    unsure = "" if float(probability_C.max()) >= scorer.threshold else "  (not sure enough to be trusted)"
    return f"{first}{unsure}; then {', '.join(others)}"


def labels_line(scorer: Streaming, logits_C: Tensor) -> str:
    """Returns the predicted labels, and the probability of each label."""
    each = zip(scorer.classes, scorer.calibrated(logits_C).tolist(), strict=True)
    probabilities = ", ".join(f"{name} {probability:.1%}" for name, probability in each)
    return f"{scorer.row(logits_C)['label'] or 'none of its labels'}; {probabilities}"


def values_line(scorer: Streaming, value_K: Tensor) -> str:
    """Returns each target with its number."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scorer.row(value_K).items())


def label_caption(row: Mapping[str, Any]) -> str:
    """Returns the label and its probability; a question mark if it is not confident enough."""
    return f"{row[Column.LABEL]} {row[Column.PROBABILITY]:.0%}{'' if row[Column.CONFIDENT] else ' ?'}"


def values_caption(row: Mapping[str, Any]) -> str:
    """Returns each target with its number, a line each."""
    return "\n".join(f"{name} {value:.3g}" for name, value in row.items())


LINES: Mapping[TargetKind, Callable[[Streaming, Tensor], str]] = {
    TargetKind.CLASSIFICATION: class_line,
    TargetKind.MULTILABEL: labels_line,
    TargetKind.REGRESSION: values_line,
}
CAPTIONS: Mapping[TargetKind, Callable[[Mapping[str, Any]], str]] = {
    TargetKind.CLASSIFICATION: label_caption,
    TargetKind.MULTILABEL: label_caption,
    TargetKind.REGRESSION: values_caption,
}
