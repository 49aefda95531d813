"""MLflow runs: one per retraining, even across processes and kills. Calls pass the run ID; no fluent API is used.

`.state/run.json` holds the ID of the open run, so that the next flow continues the run of a killed flow.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.config.parameters import FlowParams
from flows.local.environment import REGISTRY
from flows.registry.outage import Attempts, explained
from flows.registry.run_entities import curve_metrics, final_metrics, score_values, stage_values
from flows.registry.run_inputs import CHECKOUT_ID, inputs_digest, log_inputs, log_lineage
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.stages import dvc_cli
from flows.stages.supervise import Outcome
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.schema import Candidate, Curve
from tasks.objectives.search_report import SearchReport

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # terminal states of an MLflow run


class Run:
    """The MLflow run of a retraining: the open run of a killed flow with the same inputs, otherwise a new run.

    A new run is created when `id` is first read.
    """

    def __init__(self, params: FlowParams, warn: Callable[[str], object] = print) -> None:
        self.client = client()
        self._paths = params.paths
        self.experiment = experiment_id(self.client, params.register_.experiment)
        self._note = params.paths.state / "run.json"
        self._inputs = inputs_digest(params.paths)
        self._id, self._is_described, self._logged_curve_rows = self._resumable()
        self._attempts, self._outcomes, self._has_curves = Attempts(warn), deque[Outcome](), False
        self._close_leftovers()

    @property
    def id(self) -> str:
        """Returns the run's ID; creates the run if there is none yet."""
        if self._id is None:
            name = time.strftime("retrain %Y-%m-%d %H:%M")
            run = self.client.create_run(self.experiment, run_name=name, tags={Tag.CHECKOUT: CHECKOUT_ID})
            self._id = str(run.info.run_id)
            self._write_note()
        if not self._is_described:
            log_inputs(self.client, self._id, self._paths)
            self._is_described = True
            self._write_note()
        return self._id

    def open(self) -> None:
        """Creates the run if there is none yet. If MLflow does not answer, a later call does."""
        self._attempts.attempt(lambda: self.id)

    def follow_curves(self) -> None:
        """Logs new rows of the curve file, once MLflow answers. Until finetune begins, it is of an earlier fit."""
        self._has_curves = True
        self._attempts.attempt(self._log_curves)

    def log_stage(self, outcome: Outcome) -> None:
        """Logs a stage's duration (in seconds) and report, if it was computed in this run, once MLflow answers."""
        if outcome.seconds is not None:
            self._outcomes.append(outcome)
        self._attempts.attempt(self._log_stages)

    def catch_up(self) -> None:
        """Logs what could not be logged so far. Raises RootstockError if MLflow does not answer for minutes."""
        self._attempts.insist(self._log_missing)

    def _log_missing(self) -> None:
        self._log_stages()
        if self._has_curves:
            self._log_curves()

    def _log_curves(self) -> None:
        file = self._paths.curves
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        fresh = [json.loads(line) for line in lines[self._logged_curve_rows :]]
        if fresh:
            self.client.log_batch(self.id, metrics=[metric for row in fresh for metric in curve_metrics(row)])
            self._logged_curve_rows = len(lines)

    def _log_stages(self) -> None:
        while self._outcomes:
            self._log_metrics(dict(stage_values(self._outcomes[0])))
            self._outcomes.popleft()

    def log_results(self) -> None:
        """Logs scores, figures, tables, curves and the validation report from the stages' files."""
        self._log_curves()
        self._log_metrics(dict(score_values(read_json(self._paths.metrics))))
        paths = self._paths
        for file in sorted({*paths.evaluate.iterdir(), *paths.validate_.iterdir()} - {paths.probabilities}):
            self.client.log_artifact(self.id, str(file), file.parent.name)
        for file in (paths.choice, paths.preview, paths.policy, paths.probe, paths.curves):
            self.client.log_artifact(self.id, str(file), file.parent.name)
        if search := SearchReport.load(paths.search):
            self.client.set_tag(self.id, Tag.RECIPE, search.recipe)
            self.client.log_artifact(self.id, str(paths.search), paths.finetune.name)
        log_lineage(self.client, self.id, dvc_cli.LOCK)

    def metrics_so_far(self) -> Mapping[str, float]:
        """Returns the latest value of each metric of the run; empty if there is no run."""
        return dict(self.client.get_run(self._id).data.metrics) if self._id else {}

    @classmethod
    @contextmanager
    def of(cls, params: FlowParams, warn: Callable[[str], object] = print) -> Iterator[Run]:
        """Yields the run of a retraining; closes it as FINISHED, as FAILED, or as KILLED if the flow is terminated.

        Raises RootstockError if the block fails because MLflow cannot be used.
        """
        with explained():
            run = cls(params, warn)
        status = KILLED
        try:
            with explained():
                yield run
            status = FINISHED
        except Exception:
            status = FAILED
            raise
        finally:
            run.close(status)

    def close(self, status: str) -> None:
        """Ends the run, if there is one, with this status: FINISHED, FAILED or KILLED.

        If MLflow does not answer, the next run does, or goes on with it.
        """
        run_id = self._id
        if run_id is None or self._attempts.attempt(lambda: self.client.set_terminated(run_id, status)):
            self._note.unlink(missing_ok=True)

    def _write_note(self) -> None:
        write_json(self._note, {"run": self._id, "inputs": self._inputs, "described": self._is_described})

    def _log_metrics(self, values: Mapping[str, float]) -> None:
        self.client.log_batch(self.id, metrics=final_metrics(values))

    def _resumable(self) -> tuple[str | None, bool, int]:
        """Returns the ID of a killed flow's run with the same inputs, whether it has them, and its number of rows.

        Without such a run, returns None, False and 0.
        """
        try:
            note = dict(read_json(self._note))
        except (OSError, ValueError, TypeError):  # there is none, or it is damaged
            return None, False, 0
        running = {run.info.run_id for run in self._running()}
        run_id = str(note.get("run"))
        if note.get("inputs") == self._inputs and run_id in running:
            return run_id, bool(note.get("described", True)), self._logged_rows(run_id)
        return None, False, 0

    def _logged_rows(self, run_id: str) -> int:
        """Counts the run's curve rows in MLflow: a local count would be stale after a kill."""
        names = (f"{candidate.slug}/{Curve.VALIDATION_LOSS}" for candidate in Candidate)
        return sum(len(self.client.get_metric_history(run_id, name)) for name in names)

    def _close_leftovers(self) -> None:
        """Ends other runs that killed flows of this checkout have left running."""
        for run in self._running():
            if run.info.run_id != self._id:
                self.client.set_terminated(run.info.run_id, KILLED)

    def _running(self) -> list[MlflowRun]:
        """Returns this checkout's open runs. No other flow writes to them: this flow holds the lock."""
        query = f"attributes.status = 'RUNNING' and tags.`{Tag.CHECKOUT}` = '{CHECKOUT_ID}'"
        return list(self.client.search_runs([self.experiment], query))


def experiment_id(tracker: MlflowClient, name: str) -> str:
    """Returns the experiment's ID; creates it if needed, in a local database with artifacts below .registry.

    Raises RootstockError if the experiment was deleted: MLflow keeps its name but accepts no runs.
    """
    from mlflow.entities import LifecycleStage

    experiment = tracker.get_experiment_by_name(name)
    if experiment is None:
        local = os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:")
        return str(tracker.create_experiment(name, artifact_location=str(REGISTRY / "artifacts") if local else None))
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        raise RootstockError(
            f"the experiment {name} was deleted in MLflow: restore it, or change register.experiment",
            key="register.experiment",
        )
    return str(experiment.experiment_id)
