"""Results of the stages as MLflow entities: parameters, metrics and the input data set of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flows.registry.tags import Tag
from flows.stages import dvc_cli
from flows.stages.supervise import Outcome
from tasks.core.paths import Paths
from tasks.core.redaction import redact
from tasks.core.schema import HIGH, LOW, VALUE, Candidate, Curve

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param


def run_params(node: Mapping[str, Any], prefix: str = "") -> Iterator[Param]:
    """Yields the values of nested sections as parameters with dotted names, without credentials."""
    from mlflow.entities import Param

    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from run_params(value, f"{prefix}{key}.")
        else:
            yield Param(f"{prefix}{key}", redact(str(value)))


def dataset_input(paths: Paths) -> DatasetInput:
    """Returns the images in paths.raw as the run's data set, with their MD5 as the digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    md5 = dvc_cli.tracked_md5(paths.raw)
    source = json.dumps({"path": str(paths.raw), "md5": md5})
    dataset = Dataset(name=paths.raw.name, digest=md5, source_type="dvc", source=source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training"), InputTag(Tag.DATA_MD5, md5)])


def final_metrics(values: Mapping[str, float]) -> list[Metric]:
    """Returns values that are logged once per run as metrics at step 0."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, 0) for name, value in values.items()]


def curve_metrics(row: Mapping[str, Any]) -> Iterator[Metric]:
    """Yields the values of a row of the learning curves as metrics at the row's step."""
    from mlflow.entities import Metric

    slug = Candidate(row[Curve.CANDIDATE]).slug
    now = int(time.time() * 1000)
    for name in set(Curve) - {Curve.CANDIDATE, Curve.EPOCH, Curve.STEP}:
        if name in row:
            yield Metric(f"{slug}/{name}", row[name], now, row[Curve.STEP])


def stage_values(outcome: Outcome) -> Iterator[tuple[str, float]]:
    """Yields the name and value of a stage's duration, in seconds, and of the numbers in its report."""
    if outcome.seconds is not None:
        yield f"seconds/{outcome.stage}", outcome.seconds
    for name, value in {**outcome.report, **outcome.report.get("more", {})}.items():
        if isinstance(value, int | float):
            yield f"{outcome.stage}/{name}", value


def score_values(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[tuple[str, float]]:
    """Yields the name and value of each candidate's test metrics, such as tuned/accuracy, and of their bounds.

    The bounds of an interval are named tuned/accuracy_low and tuned/accuracy_high.
    """
    for candidate, metrics in table.items():
        for metric, score in metrics.items():
            name = f"{Candidate(candidate).slug}/{metric}"
            yield name, score[VALUE]
            yield from ((f"{name}_{bound}", score[bound]) for bound in (LOW, HIGH) if bound in score)
