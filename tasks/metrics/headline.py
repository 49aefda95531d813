"""The headline metric of each target kind."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from tasks.core.schema import VALUE, Metric
from tasks.core.target import TargetKind


@dataclass(frozen=True)
class Headline:
    """A metric, its display name, and the format of its value."""

    metric: Metric
    name: str
    number_format: str

    def describe(self, scores: Mapping[str, Mapping[str, float]]) -> str:
        """Formats the metric's value in `scores`, a model's entry of metrics.json."""
        return f"{scores[self.metric][VALUE]:{self.number_format}}"


HEADLINES: Mapping[TargetKind, Sequence[Headline]] = {  # the first that a model has
    TargetKind.CLASSIFICATION: (Headline(Metric.ACCURACY, "accuracy", ".1%"),),
    TargetKind.MULTILABEL: (Headline(Metric.ACCURACY, "exactly the right labels", ".1%"),),
    TargetKind.REGRESSION: (
        Headline(Metric.MAE, "mean absolute error", ".3g"),
        Headline(Metric.SCALED_MAE, "mean absolute error in standard deviations", ".3g"),
    ),
}


def headline_of(kind: TargetKind, names: Container[str]) -> Headline:
    """Returns the headline of a model that has the metrics `names`."""
    return next(headline for headline in HEADLINES[kind] if headline.metric in names)
