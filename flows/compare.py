"""Compare: models on data sets by seeds, against the big one (article, 3.3). Run by make compare."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from scipy.stats import t

from flows.comparison import cells
from flows.comparison.cells import Cell, Score
from flows.config import parameters
from flows.local.lock import flow_lock
from flows.local.logs import plain_errors
from flows.registry.run_summary import picture
from flows.stages.supervise import progress_bar
from tasks.core.files import replacing, write_text
from tasks.reports.page import markdown_table

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from flows.config.parameters import FlowParams
    from tasks.core.messages import DisplayMessage


@dataclass(frozen=True)
class Compared:
    """What a comparison says at its end, and how many cells could not be computed."""

    text: str
    failed: int


@flow(name="compare")
def compare() -> Compared:
    """Every cell, the table, the picture, and one MLflow run with a child a cell; what was computed is not again."""
    plain_errors()
    params = parameters.load()
    folder = params.paths.state / "compare"
    with flow_lock(params.paths.state, "compare"):
        wanted = cells.cells(params)
        share_features(folder, params)
        found = {}
        for number, cell in enumerate(wanted, 1):
            found[cell] = measure.with_options(task_run_name=f"{number} of {len(wanted)}")(cell, folder)
        return publish(found, params, folder)


def share_features(folder: Path, params: FlowParams) -> None:
    """Features that retrainings have computed serve here too, and the other way round."""
    own = folder / "state" / params.paths.feature_store.name
    params.paths.feature_store.mkdir(parents=True, exist_ok=True)
    if not own.exists():
        own.unlink(missing_ok=True)  # a link that leads nowhere, since the checkout was moved
        own.parent.mkdir(parents=True, exist_ok=True)
        own.symlink_to(params.paths.feature_store.absolute())


@task(cache_policy=NO_CACHE)
def measure(cell: Cell, folder: Path) -> Score:
    """One cell."""
    log, show_progress = get_run_logger(), progress_bar("compare-progress", cell.name)

    def on_message(message: DisplayMessage) -> None:
        log.debug(str(message))
        show_progress(message)

    score = cells.measured(cell, folder, on_message)
    what = f"{score.metric} {score.value:.4f}, {score.seconds:.0f} s" if not score.error else score.error
    log.info("%s: %s%s", cell.name, what, ", as before" if score.reused else "")
    return score


def publish(found: Mapping[Cell, Score], params: FlowParams, folder: Path) -> Compared:
    """The tables as text, CSV and picture; in Prefect and MLflow."""
    from tasks.reports.pictures import compared

    table = cells.table(found)
    columns, rows = summary(table, params.compare.against)
    text = markdown_table(columns, rows)
    with replacing(folder / "cells.csv") as beside:
        table.to_csv(beside, index=False)
    compared(folder / "compare.png", points(table))
    text = f"{text}\n\nmean ± half of the 95% t interval over {len(params.compare.seeds)} seeds; seconds of a cell"
    write_text(folder / "compare.md", text)
    shown = f"{text}\n\n{picture(folder / 'compare.png')}"
    create_markdown_artifact(shown, key="compare-result", description="Result of a comparison")
    log_runs(found, params, folder)
    failed = [f"{cell.name}: {score.error}" for cell, score in found.items() if score.error]
    where = "\n".join(f"{(folder / name).resolve()}" for name in ("compare.md", "compare.png", "cells.csv"))
    return Compared("\n\n".join([text, *failed, where]), len(failed))


def summary(table: pd.DataFrame, against: str | None) -> tuple[list[str], list[list[str]]]:
    """A row a model: its score on each data set, the gain over `against` by paired seeds, and its cost."""
    sets = list(dict.fromkeys(table["data"]))
    scores = table.pivot_table(index=["model", "data"], columns="seed", values="value", sort=False, dropna=False)
    columns = ["model"]
    for name in sets:
        metric = next((m for m in table.loc[table["data"] == name, "metric"] if m), "score")
        columns += [f"{name}, {metric}", *([f"gain over {against}"] if against else [])]
    rows = []
    for model in dict.fromkeys(table["model"]):
        row = [model]
        for name in sets:
            own = scores.loc[(model, name)].to_numpy(float)
            row.append(interval(own))
            if against:
                row.append("" if model == against else interval(own - scores.loc[(against, name)].to_numpy(float), "+"))
        cost = table[table["model"] == model][["seconds", "cpu_seconds"]].mean()
        rows.append([*row, f"{cost['seconds']:.0f}", f"{cost['cpu_seconds']:.0f}"])
    return [*columns, "seconds", "CPU-seconds"], rows


def interval(values: np.ndarray, sign: str = "") -> str:
    """Mean and half of the 95% t interval; of percentages where the metric is a share."""
    mean, half = mean_and_half(values)
    if np.isnan(mean):
        return "failed"
    return f"{100 * mean:{sign}.1f}" + (f" ± {100 * half:.1f}" if np.isfinite(half) else "")


def mean_and_half(values: np.ndarray) -> tuple[float, float]:
    """Over those that there are."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    if len(known) == 1:
        return float(known[0]), float("nan")
    return float(known.mean()), float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5)


def points(table: pd.DataFrame) -> dict[str, dict[str, tuple[float, float]]]:
    """For each data set and model, mean and half-width."""
    return {
        str(data): {
            str(model): mean_and_half(own["value"].to_numpy(float)) for model, own in rows.groupby("model", sort=False)
        }
        for data, rows in table.groupby("data", sort=False)
    }


def log_runs(found: Mapping[Cell, Score], params: FlowParams, folder: Path) -> None:
    """One MLflow run with the table, the picture and a child a cell."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    from flows.registry.runs import experiment_id
    from flows.registry.store import client

    tracker = client()
    experiment = experiment_id(tracker, params.register_.experiment)
    parent = tracker.create_run(experiment, run_name=time.strftime("compare %Y-%m-%d %H:%M")).info.run_id
    for name in ("compare.md", "compare.png", "cells.csv"):
        tracker.log_artifact(parent, str(folder / name))
    for cell, score in found.items():
        child = tracker.create_run(experiment, run_name=cell.name, tags={MLFLOW_PARENT_RUN_ID: parent}).info.run_id
        now = int(time.time() * 1000)
        numbers = {score.metric: score.value, "seconds": score.seconds, "cpu_seconds": score.cpu_seconds}
        metrics = [] if score.error else [Metric(name, value, now, 0) for name, value in numbers.items()]
        changed = [Param(name, str(value)) for name, value in cell.changes.items()]
        tags = [RunTag("compare.data", cell.data), RunTag("compare.model", cell.model)]
        tracker.log_batch(child, metrics=metrics, params=changed, tags=tags)
        tracker.set_terminated(child, "FAILED" if score.error else "FINISHED")
    tracker.set_terminated(parent, "FINISHED")
