"""What a retraining shows at its end: a short table, where it came from, and where to look next."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from flows.config.parameters import FlowParams
from flows.local.servers import running
from flows.registry.runs import Run
from flows.registry.verdict import Judgement
from flows.stages.supervise import Outcome
from tasks.core.files import read_json, write_text
from tasks.core.paths import Paths
from tasks.core.schema import HIGH, LOW, VALUE, Candidate, Metric
from tasks.reports.page import markdown_table

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

COLUMNS = ("model", "test accuracy", "95% interval", "macro F1", "ECE", "seconds")
LABEL_COLUMNS = ("model", "exactly right", "95% interval", "macro F1", "mAP", "seconds")  # of several labels
VALUE_COLUMNS = ("model", "mean abs. error", "95% interval", "RMSE", "R²", "seconds")  # of targets
CLASS_METRICS = (Metric.ACCURACY, (Metric.MACRO_F1, Metric.ECE))
# Whose seconds a candidate costs, as metrics of the run.
COST: dict[Candidate, tuple[str, ...]] = {
    Candidate.MEAN: (),
    Candidate.SCRATCH: ("finetune/seconds_scratch",),
    Candidate.PROBE: ("seconds/features", "seconds/head"),
    Candidate.TUNED: ("seconds/features", "seconds/head", "finetune/seconds_tuned"),
    Candidate.TEACHER: ("seconds/teacher",),  # which was made elsewhere
}


def result_rows(paths: Paths, metrics: Mapping[str, float]) -> list[list[str]]:
    """A row a candidate; seconds of stages that were not computed in this run are not known to it."""
    rows = []
    for name, scored in read_json(paths.metrics).items():
        cost = COST[Candidate(name)]
        seconds = (
            f"{sum(metrics[key] for key in cost):.1f}" if all(key in metrics for key in cost) else "not computed now"
        )
        first, others = CLASS_METRICS
        if Metric.MAE in scored:
            first, others = Metric.MAE, (Metric.RMSE, Metric.R2)
        elif Metric.MAP in scored:
            others = (Metric.MACRO_F1, Metric.MAP)
        how = ".1%" if first is Metric.ACCURACY else ".4g"
        between = f"{scored[first][LOW]:{how}} to {scored[first][HIGH]:{how}}"
        rest = [f"{scored[metric][VALUE]:{'.4g' if metric is Metric.RMSE else '.3f'}}" for metric in others]
        rows.append([name, f"{scored[first][VALUE]:{how}}", between, *rest, seconds])
    return rows


def columns_of(paths: Paths) -> tuple[str, ...]:
    """What the rows are about: classes, or targets."""
    found = read_json(paths.metrics)
    if Candidate.MEAN in found:
        return VALUE_COLUMNS
    return LABEL_COLUMNS if Metric.MAP in found[Candidate.TUNED] else COLUMNS


@dataclass(frozen=True)
class Result:
    """What a retraining says at its end, and the exit code of its verdict."""

    text: str
    exit_code: int


def publish(
    outcomes: Sequence[Outcome], version: ModelVersion, judgement: Judgement, params: FlowParams, run: Run
) -> str:
    """Puts the table and pictures on the flow run as a Markdown artifact; the table for the terminal."""
    paths = params.paths
    pictures = (paths.comparison, paths.curves_picture, paths.confusion, paths.residuals, paths.wrong)
    rows, columns = result_rows(paths, run.metrics_so_far()), columns_of(paths)
    markdown = "\n\n".join(
        [
            f"## {version.name} version {version.version}: {judgement.verdict}",
            markdown_table(columns, rows),
            judgement.markdown(),
            markdown_table(
                ("stage", "became", "seconds"), [[o.stage, o.what, f"{o.seconds or 0:.1f}"] for o in outcomes]
            ),
            *(picture(file) for file in pictures if file.exists()),
        ]
    )
    write_text(paths.result, markdown)
    create_markdown_artifact(markdown, key="retrain-result", description="Result of a retraining")
    verdict = f"verdict     {judgement.verdict}: {judgement.why()}"
    return f"\n{text_table(columns, rows)}\n\n{verdict}\n{where_next(paths)}"


def where_next(paths: Paths) -> str:
    """Where to look after a retraining: the page with its pictures, the servers' pages, the parameters."""
    pages = {name: server["url"] for name, server in running().items()}
    return "\n".join(
        [
            f"pictures    {paths.results_page.resolve().as_uri()}",
            f"flow runs   {pages.get('prefect', 'make up')}",
            f"models      {pages.get('mlflow', 'make up')}",
            'your images make run ARGS="--data.source ../my-images"',
        ]
    )


def picture(file: Path) -> str:
    """A PNG file inside Markdown."""
    return f"![{file.stem}](data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()})"


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line, for a terminal."""
    widths = [max(len(row[place]) for row in [columns, *rows]) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [columns, *rows]
    )
