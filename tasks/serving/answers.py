"""The answer for one picture as JSON, by kind of target. Shapes: C outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tasks.core.schema import Column
from tasks.core.target import TargetKind
from tasks.serving.engine import Engine, Outputs


class Extras(NamedTuple):
    """What an answer contains on request."""

    distribution: bool = False
    embedding: bool = False


Answer = dict[str, Any]


def answer_of(engine: Engine, outputs: Outputs, extras: Extras) -> Answer:
    """Returns a picture's answer."""
    row = engine.row(outputs)
    answer = ANSWERS[engine.kind](engine, outputs, row)
    if extras.distribution and Column.DISTRIBUTION in row:
        answer["distribution"] = row[Column.DISTRIBUTION]
    if outputs.feature_D is not None:
        answer["embedding"] = outputs.feature_D.tolist()
    return answer


def of_class(_engine: Engine, _outputs: Outputs, row: Mapping[str, Any]) -> Answer:
    """Returns label, calibrated probability, runner-up, and whether the model is confident."""
    others = {name: value for name, value in row[Column.DISTRIBUTION].items() if name != row[Column.LABEL]}
    second = max(others, key=others.__getitem__, default=None)
    runner_up = None if second is None else {"label": second, "probability": others[second]}
    return {
        "label": row[Column.LABEL],
        "probability": row[Column.PROBABILITY],
        "runner_up": runner_up,
        "confident": row[Column.CONFIDENT],
    }


def of_labels(engine: Engine, outputs: Outputs, row: Mapping[str, Any]) -> Answer:
    """Returns all labels, the smallest probability of the decisions, and whether the model is confident."""
    scorer: Any = engine.scorer
    selected_C = (scorer.calibrated(outputs.logits_C) >= scorer.label_thresholds).tolist()
    labels = [name for name, selected in zip(engine.names, selected_C, strict=True) if selected]
    return {"labels": labels, "probability": row[Column.PROBABILITY], "confident": row[Column.CONFIDENT]}


def of_values(_engine: Engine, _outputs: Outputs, row: Mapping[str, Any]) -> Answer:
    """Returns the value of each target."""
    return {"values": dict(row)}


ANSWERS: Mapping[TargetKind, Callable[[Engine, Outputs, Mapping[str, Any]], Answer]] = {
    TargetKind.CLASSIFICATION: of_class,
    TargetKind.MULTILABEL: of_labels,
    TargetKind.REGRESSION: of_values,
}
