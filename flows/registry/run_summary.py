"""The summary that a retraining prints and shows in Prefect: a table, the verdict and links."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact
from rich.console import Console
from rich.table import Table

from flows.config.parameters import FlowParams
from flows.local.links import model_page
from flows.local.servers import running
from flows.registry.kinds import SUMMARY_COLUMNS, SummaryColumn
from flows.registry.runs import Run
from flows.registry.verdict import Judgement
from flows.stages.artifacts import if_prefect_answers
from flows.stages.supervise import Outcome
from tasks.core.files import read_json, write_text
from tasks.core.paths import Paths
from tasks.core.schema import HIGH, LOW, VALUE, Candidate
from tasks.core.target import TargetKind, TargetSpec
from tasks.reports.page import data_url, markdown_table

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

# Run metrics whose sum is a candidate's cost, in seconds.
COST: dict[Candidate, tuple[str, ...]] = {
    Candidate.MEAN: (),
    Candidate.SCRATCH: ("finetune/seconds_scratch",),
    Candidate.PROBE: ("seconds/features", "seconds/head"),
    Candidate.TUNED: ("seconds/features", "seconds/head", "finetune/seconds_tuned"),
    Candidate.TEACHER: ("seconds/teacher",),  # computes its answers; it was trained elsewhere
}


def result_rows(paths: Paths, kind: TargetKind, run_metrics: Mapping[str, float]) -> list[list[str]]:
    """Returns a row per candidate: name, first metric, its interval, other metrics; seconds if computed in this run."""
    table = read_json(paths.metrics)
    first, *others = summary_columns(kind, table[Candidate.TUNED])
    rows = []
    for name, scores in table.items():
        low, high = (f"{scores[first.metric][bound]:{first.number_format}}" for bound in (LOW, HIGH))
        value, *rest = (f"{scores[column.metric][VALUE]:{column.number_format}}" for column in (first, *others))
        rows.append([name, value, f"{low} to {high}", *rest, _seconds(Candidate(name), run_metrics)])
    return rows


def _seconds(candidate: Candidate, run_metrics: Mapping[str, float]) -> str:
    keys = COST[candidate]
    return f"{sum(run_metrics[key] for key in keys):.1f}" if set(keys) <= run_metrics.keys() else "not computed now"


def summary_columns(kind: TargetKind, names: Container[str]) -> list[SummaryColumn]:
    """Returns the columns of the metrics that a model has."""
    return [column for column in SUMMARY_COLUMNS[kind] if column.metric in names]


def columns_of(paths: Paths, kind: TargetKind) -> tuple[str, ...]:
    """Returns the column headings of `result_rows`."""
    tuned = read_json(paths.metrics)[Candidate.TUNED]
    first, *others = (column.heading for column in summary_columns(kind, tuned))
    return ("model", first, "95% interval", *others, "seconds")


@dataclass(frozen=True)
class Result:
    """The summary of a retraining, and the exit code of its verdict."""

    text: str
    exit_code: int


def publish(
    outcomes: Sequence[Outcome], version: ModelVersion, judgement: Judgement, params: FlowParams, run: Run
) -> str:
    """Publishes tables and plots as a Markdown artifact of the flow run. Returns the summary for the terminal."""
    paths = params.paths
    pictures = (paths.comparison, paths.curves_picture, paths.confusion, paths.residuals, paths.wrong)
    kind = TargetSpec.load(paths.task).kind
    rows, columns = result_rows(paths, kind, run.metrics_so_far()), columns_of(paths, kind)
    markdown = "\n\n".join(
        [
            f"## {version.name} version {version.version}: {judgement.verdict}",
            markdown_table(columns, rows),
            judgement.markdown(),
            markdown_table(
                ("stage", "outcome", "seconds"),
                [[each.stage, each.what, f"{each.seconds or 0:.1f}"] for each in outcomes],
            ),
            *(picture(file) for file in pictures if file.exists()),
        ]
    )
    write_text(paths.result, markdown)
    describe = {"key": "retrain-result", "description": "Result of a retraining"}
    if_prefect_answers(lambda: create_markdown_artifact(markdown, **describe))
    verdict = f"verdict     {judgement.verdict}: {judgement.why()}"
    table = text_table(columns, rows, terminal_width())
    return f"\n{table}\n\n{verdict}\n{where_next(paths, version.name)}"


def where_next(paths: Paths, model: str) -> str:
    """Returns where to look next: the page with images, the servers' pages, and the command for other images."""
    pages = {name: server["url"] for name, server in running().items()}
    return "\n".join(
        [
            f"pictures    {paths.results_page.resolve().as_uri()}",
            f"flow runs   {pages.get('prefect', 'make up')}",
            f"models      {model_page(pages['mlflow'], model) if 'mlflow' in pages else 'make up'}",
            'your images make run ARGS="--data.source ../my-images"',
        ]
    )


def picture(file: Path) -> str:
    """Returns a PNG file as an inline image in Markdown."""
    return f"![{file.stem}]({data_url(file)})"


def terminal_width() -> int | None:
    """Returns the width of the terminal that standard output is, in characters, or None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Returns the rows as aligned columns. Cells are folded if the table is wider than `width` characters."""
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    if width and sum(widths) + 2 * len(widths) - 2 > width:
        return _folded(columns, rows, width)
    return "\n".join(
        "  ".join(cell.ljust(cell_width) for cell, cell_width in zip(row, widths, strict=True)).rstrip()
        for row in [columns, *rows]
    )


def _folded(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="", width=width)
    for row in rows:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
