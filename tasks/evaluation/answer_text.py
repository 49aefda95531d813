"""Formats a model's prediction for one image as text, by target kind. Shapes: C classes, K targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tasks.core.schema import LIKELIEST, MAX_CLASSES_SHOWN, Column
from tasks.core.target import TargetKind

if TYPE_CHECKING:
    from torch import Tensor

    from tasks.evaluation.prediction_tables import StreamingScorer

MAX_CLASSES = 3  # per line: the predicted class and the runners-up


def class_line(scorer: StreamingScorer, logits_C: Tensor) -> str:
    """Returns the predicted class and the runners-up with their probabilities, from logits (C,)."""
    probability_C = scorer.calibrated(logits_C)
    best = probability_C.topk(min(MAX_CLASSES, len(scorer.classes)))
    ranked = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    first, *others = [f"{scorer.classes[index]} {probability:.1%}" for probability, index in ranked]
    note = "" if float(probability_C.max()) >= scorer.threshold else "  (below the confidence threshold)"
    return f"{first}{note}; then {', '.join(others)}"


def labels_line(scorer: StreamingScorer, logits_C: Tensor) -> str:
    """Returns the predicted labels and the probability of each label, or of the likeliest of many, from logits (C,)."""
    pairs = list(zip(scorer.classes, scorer.calibrated(logits_C).tolist(), strict=True))
    if len(pairs) > MAX_CLASSES_SHOWN:
        pairs = sorted(pairs, key=lambda pair: -pair[1])[: len(LIKELIEST)]
    probabilities = ", ".join(f"{name} {probability:.1%}" for name, probability in pairs)
    return f"{scorer.row(logits_C)['label'] or 'no label'}; {probabilities}"


def values_line(scorer: StreamingScorer, value_K: Tensor) -> str:
    """Returns each target with its value, from outputs (K,)."""
    return ", ".join(f"{name} {value:.4g}" for name, value in scorer.row(value_K).items())


def label_caption(row: Mapping[str, Any]) -> str:
    """Returns the label and its probability, with a question mark if it is below the confidence threshold."""
    return f"{row[Column.LABEL]} {row[Column.PROBABILITY]:.0%}{'' if row[Column.CONFIDENT] else ' ?'}"


def values_caption(row: Mapping[str, Any]) -> str:
    """Returns one line per target with its value."""
    return "\n".join(f"{name} {value:.3g}" for name, value in row.items())


LINES: Mapping[TargetKind, Callable[[StreamingScorer, Tensor], str]] = {
    TargetKind.CLASSIFICATION: class_line,
    TargetKind.MULTILABEL: labels_line,
    TargetKind.REGRESSION: values_line,
}
CAPTIONS: Mapping[TargetKind, Callable[[Mapping[str, Any]], str]] = {
    TargetKind.CLASSIFICATION: label_caption,
    TargetKind.MULTILABEL: label_caption,
    TargetKind.REGRESSION: values_caption,
}
