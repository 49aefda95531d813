"""MLflow runs: one per retraining, even across processes and kills. Calls pass the run ID; no fluent API is used.

`.state/run.json` holds the ID of the open run, so that the next flow continues the run of a killed flow.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flows.config.parameters import FlowParams
from flows.local import git
from flows.local.environment import MAIN_CHECKOUT, REGISTRY
from flows.registry.run_entities import curve_metrics, dataset_input, final_metrics, run_params, score_values
from flows.registry.store import client
from flows.registry.tags import Tag, lineage
from flows.stages import dvc_cli
from flows.stages.supervise import Outcome
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.params import PARAMS_FILE, read_document
from tasks.core.paths import Paths
from tasks.core.redaction import redact
from tasks.core.schema import Candidate, Curve
from tasks.objectives.search_report import SearchReport

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

NOT_LOGGED = {"presets", "compare"}  # sections with named overrides, which by themselves change nothing
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # terminal states of an MLflow run
BATCH = 100  # maximum number of parameters per call to MLflow
CHECKOUT_ID = hashlib.sha256(str(MAIN_CHECKOUT).encode()).hexdigest()[:16]


def inputs_digest(paths: Paths) -> str:
    """Returns a SHA-256 of a run's inputs: data, weights, teacher, code and parameters."""
    inputs = [
        dvc_cli.tracked_md5(paths.raw),
        dvc_cli.tracked_md5(paths.candidates),
        dvc_cli.tracked_md5(paths.teacher),
        git.commit(),
        git.difference(),
    ]
    return hashlib.sha256(json.dumps([*inputs, PARAMS_FILE.read_text(encoding="utf-8")]).encode()).hexdigest()


class Run:
    """The MLflow run of a retraining: the open run of a killed flow with the same inputs, otherwise a new run.

    A new run is created when `id` is first read.
    """

    def __init__(self, params: FlowParams) -> None:
        self.client = client()
        self._paths = params.paths
        self.experiment = experiment_id(self.client, params.register_.experiment)
        self._note = params.paths.state / "run.json"
        self._inputs = inputs_digest(params.paths)
        self._id, self._logged_curve_rows = self._resumable()
        self._close_leftovers()

    @property
    def id(self) -> str:
        """Returns the run's ID; creates the run if there is none yet."""
        if self._id is None:
            self._id = self.client.create_run(
                self.experiment, run_name=time.strftime("retrain %Y-%m-%d %H:%M")
            ).info.run_id
            write_json(self._note, {"run": self._id, "inputs": self._inputs})
            self._log_inputs(self._id)
        return self._id

    def open(self) -> str:
        """Creates the run if there is none yet, and returns its ID."""
        return self.id

    def follow_curves(self) -> None:
        """Logs new rows of the curve file. Until finetune begins, the file belongs to an earlier fit."""
        file = self._paths.curves
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        fresh = [json.loads(line) for line in lines[self._logged_curve_rows :]]
        if fresh:
            self.client.log_batch(self.id, metrics=[metric for row in fresh for metric in curve_metrics(row)])
            self._logged_curve_rows = len(lines)

    def log_stage(self, outcome: Outcome) -> None:
        """Logs a stage's duration (in seconds) and report, if the stage was computed in this run."""
        if outcome.seconds is not None:
            values = {f"seconds/{outcome.stage}": outcome.seconds}
            flat = {**outcome.report, **outcome.report.get("more", {})}
            values |= {
                f"{outcome.stage}/{name}": value for name, value in flat.items() if isinstance(value, int | float)
            }
            self._log_metrics(values)

    def log_results(self) -> None:
        """Logs scores, figures, tables, curves and the validation report from the stages' files."""
        self.follow_curves()
        self._log_metrics(dict(score_values(read_json(self._paths.metrics))))
        for folder in (self._paths.evaluate, self._paths.validate_):
            self.client.log_artifacts(self.id, str(folder), folder.name)
        paths = self._paths
        for file in (paths.choice, paths.preview, paths.policy, paths.probe, paths.curves):
            self.client.log_artifact(self.id, str(file), file.parent.name)
        if search := SearchReport.load(paths.search):
            self.client.set_tag(self.id, Tag.RECIPE, search.recipe)
            self.client.log_artifact(self.id, str(paths.search), paths.finetune.name)
        self._log_lineage(self.id, dvc_cli.LOCK)

    def metrics_so_far(self) -> Mapping[str, float]:
        """Returns the latest value of each metric of the run; empty if there is no run."""
        return dict(self.client.get_run(self._id).data.metrics) if self._id else {}

    @classmethod
    @contextmanager
    def of(cls, params: FlowParams) -> Iterator[Run]:
        """Yields the run of a retraining; closes it as FINISHED, as FAILED, or as KILLED if the flow is terminated."""
        run = cls(params)
        status = KILLED
        try:
            yield run
            status = FINISHED
        except Exception:
            status = FAILED
            raise
        finally:
            run.close(status)

    def close(self, status: str) -> None:
        """Ends the run, if there is one, with this status: FINISHED, FAILED or KILLED."""
        if self._id is not None:
            self.client.set_terminated(self._id, status)
        self._note.unlink(missing_ok=True)

    def _log_metrics(self, values: Mapping[str, float]) -> None:
        self.client.log_batch(self.id, metrics=final_metrics(values))

    def _log_inputs(self, run_id: str) -> None:
        """Logs the parameters, lineage tags and data set, and the files that define the run."""
        from mlflow.entities import RunTag

        paths, difference = self._paths, git.difference()
        tags = lineage(paths) | {Tag.CHECKOUT: CHECKOUT_ID, Tag.GIT_DIRTY: str(bool(difference)).lower()}
        document = {key: value for key, value in read_document(PARAMS_FILE).items() if key not in NOT_LOGGED}
        params = list(run_params(document))
        for start in range(0, len(params), BATCH):
            self.client.log_batch(run_id, params=params[start : start + BATCH])
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self.client.log_inputs(run_id, [dataset_input(paths)])
        versions = (dvc_cli.dvc_file(target) for target in (paths.raw, paths.candidates, paths.teacher))
        for file in (PARAMS_FILE, *versions):
            self._log_lineage(run_id, file)
        self.client.log_text(run_id, difference, "lineage/difference.diff")

    def _log_lineage(self, run_id: str, file: Path) -> None:
        """Logs a text file without the credentials in its addresses."""
        self.client.log_text(run_id, redact(file.read_text(encoding="utf-8")), f"lineage/{file.name}")

    def _resumable(self) -> tuple[str | None, int]:
        """Returns the ID and logged row count of a killed flow's run with the same inputs; otherwise None and 0."""
        note = read_json(self._note) if self._note.exists() else {}
        running = {run.info.run_id for run in self._running()}
        if note.get("inputs") == self._inputs and note["run"] in running:
            return note["run"], self._logged_rows(note["run"])
        return None, 0

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
