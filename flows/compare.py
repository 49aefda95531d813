"""Compare: trains models on data sets with several seeds, against a baseline (article, 3.3). Run by make compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.comparison.cell import Score
from flows.comparison.preparation import Trial
from flows.comparison.table import points, score_table, summary
from flows.comparison.trials import all_trials, run_trials
from flows.config import overrides, parameters
from flows.local.flow_runs import end_leftover
from flows.local.lock import flow_lock
from flows.local.logs import Started, as_event, plain_errors
from flows.registry.run_summary import picture
from flows.stages.artifacts import ProgressBar
from tasks.core.files import replacing, write_text
from tasks.reports.page import markdown_table

if TYPE_CHECKING:
    from pathlib import Path

    from flows.config.parameters import FlowParams
    from tasks.core.messages import DisplayMessage


FILES = ("compare.md", "compare.png", "cells.csv")


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison: its text, and the number of trials that failed."""

    text: str
    failed: int


@flow(name="compare")
def compare() -> Comparison:
    """Runs all trials without a stored score. Publishes a table, a plot, and an MLflow run with a child per trial."""
    plain_errors()
    params = parameters.load()
    folder = params.paths.state / "compare"
    with flow_lock(params.paths.state, "compare"):
        end_leftover(params.paths.state)
        trials = all_trials(params)
        overrides.keep()
        shown = Shown()
        scores = {}
        with closing(run_trials(trials, folder, shown.on_message)) as results:
            for number, trial in enumerate(trials, 1):
                measured = measure.with_options(task_run_name=f"{number} of {len(trials)}")
                scores[trial] = measured(trial, shown, partial(next, results))
        return publish(scores, params, folder)


@dataclass
class Shown:
    """Shows the messages of the stages that run here in the bar of the trial whose score is awaited."""

    bar: ProgressBar | None = None

    def on_message(self, message: DisplayMessage) -> None:
        """Logs and shows a message."""
        get_run_logger().debug(str(message))
        if self.bar:
            self.bar.show(message)


@task(cache_policy=NO_CACHE)
def measure(trial: Trial, shown: Shown, next_score: Callable[[], Score]) -> Score:
    """Waits for one trial's score, which is computed now or was stored, and logs it."""
    log, bar = get_run_logger(), ProgressBar("compare-progress", trial.name)
    log.info(trial.name, extra=as_event(Started()))
    shown.bar = bar
    score = next_score()
    if not score.error:
        bar.complete()
    outcome = f"{score.metric} {score.value:.4f}, {score.seconds:.0f} s" if not score.error else score.error
    log.info("%s: %s%s", trial.name, outcome, ", as before" if score.reused else "")
    return score


def publish(scores: Mapping[Trial, Score], params: FlowParams, folder: Path) -> Comparison:
    """Writes the table as text, as CSV and as a plot, and publishes it in Prefect and MLflow."""
    from tasks.reports.diagrams import compared

    table = score_table(scores)
    columns, rows = summary(table, params.compare.against)
    text = markdown_table(columns, rows)
    with replacing(folder / "cells.csv") as beside:
        table.to_csv(beside, index=False)
    compared(folder / "compare.png", points(table))
    text = f"{text}\n\nmean ± half of the 95% t interval over {len(params.compare.seeds)} seeds; seconds per trial"
    write_text(folder / "compare.md", text)
    shown = f"{text}\n\n{picture(folder / 'compare.png')}"
    create_markdown_artifact(shown, key="compare-result", description="Result of a comparison")
    log_runs(scores, params, folder)
    failed = [f"{trial.name}: {score.error}" for trial, score in scores.items() if score.error]
    files = "\n".join(f"{(folder / name).resolve()}" for name in FILES)
    return Comparison("\n\n".join([text, *failed, files]), len(failed))


def log_runs(scores: Mapping[Trial, Score], params: FlowParams, folder: Path) -> None:
    """Logs an MLflow run with the table and the plot, and a child run per trial."""
    from mlflow.entities import Param, RunTag
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    from flows.registry.run_entities import final_metrics
    from flows.registry.runs import experiment_id
    from flows.registry.store import client

    tracker = client()
    experiment = experiment_id(tracker, params.register_.experiment)
    parent = tracker.create_run(experiment, run_name=time.strftime("compare %Y-%m-%d %H:%M")).info.run_id
    for name in FILES:
        tracker.log_artifact(parent, str(folder / name))
    for trial, score in scores.items():
        child = tracker.create_run(experiment, run_name=trial.name, tags={MLFLOW_PARENT_RUN_ID: parent}).info.run_id
        values = {score.metric: score.value, "seconds": score.seconds, "cpu_seconds": score.cpu_seconds}
        metrics = [] if score.error else final_metrics(values)
        changed = [Param(name, str(value)) for name, value in trial.changes.items()]
        tags = [RunTag("compare.data", trial.data), RunTag("compare.model", trial.model)]
        tracker.log_batch(child, metrics=metrics, params=changed, tags=tags)
        tracker.set_terminated(child, "FAILED" if score.error else "FINISHED")
    tracker.set_terminated(parent, "FINISHED")
