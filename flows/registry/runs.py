"""MLflow runs: one a retraining, across processes and kills. Every call names its run; nothing is fluent.

`.state/run.json` keeps the run that is being written, so that a flow that was killed goes on with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from flows.config.parameters import FlowParams
from flows.local import git
from flows.local.environment import MAIN_CHECKOUT, REGISTRY
from flows.registry.store import client
from flows.stages import dvc_cli as versioning
from flows.stages.supervise import Outcome
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.params import PARAMS_FILE, read_document
from tasks.core.paths import Paths
from tasks.core.schema import HIGH, LOW, VALUE, Candidate, Curve

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric
    from mlflow.entities import Run as MlflowRun

NAMED = {"presets", "compare"}  # sections of params.yaml that are overrides by name, and change nothing by themselves
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"  # how a run ends, in MLflow's words
AT_ONCE = 100  # parameters that MLflow takes in one call
CHECKOUT_ID = hashlib.sha256(str(MAIN_CHECKOUT).encode()).hexdigest()[:16]


class Tag(StrEnum):
    """Tags of runs and model versions."""

    CHECKOUT = "rootstock.checkout"
    KEY = "rootstock.key"
    PROOF = "rootstock.proof"
    FILES = "rootstock.files"
    VERDICT = "rootstock.verdict"
    VERDICT_AGAINST = "rootstock.verdict.against"
    VERDICT_WHY = "rootstock.verdict.why"
    RELEASE = "rootstock.release"
    LEDGER = "rootstock.ledger"  # of the registered model: whose its releases are
    DATA_MD5 = "dvc.data_md5"
    WEIGHTS_MD5 = "dvc.weights_md5"
    TEACHER_MD5 = "dvc.teacher_md5"
    GIT_COMMIT = "git.commit"
    GIT_DIRTY = "git.dirty"


def inputs_digest(paths: Paths) -> str:
    """A digest of what a run starts from: data, weights, parameters and code."""
    parts = [
        versioning.tracked_md5(paths.raw),
        versioning.tracked_md5(paths.pretrained),
        versioning.tracked_md5(paths.teacher),
        git.commit(),
        git.difference(),
    ]
    return hashlib.sha256(json.dumps([*parts, PARAMS_FILE.read_text(encoding="utf-8")]).encode()).hexdigest()


class Run:
    """The MLflow run of this retraining: one that a killed flow left, or a new one, opened when `id` is asked for."""

    def __init__(self, params: FlowParams) -> None:
        self.client = client()
        self._paths = params.paths
        self.experiment = experiment_id(self.client, params.register_.experiment)
        self._note = params.paths.state / "run.json"
        self._inputs = inputs_digest(params.paths)
        self._id, self._curve_rows = self._adopted()
        self._close_leftovers()

    @property
    def id(self) -> str:
        """The run's id; from now on there is a run."""
        if self._id is None:
            self._id = self.client.create_run(
                self.experiment, run_name=time.strftime("retrain %Y-%m-%d %H:%M")
            ).info.run_id
            self._keep()
            self._log_inputs(self._id)
        return self._id

    def open(self) -> str:
        """Sees to it that there is a run; its id."""
        return self.id

    def follow_curves(self) -> None:
        """Logs the rows of the curve file that are not logged yet, which are those of an earlier fit until finetune."""
        file = self._paths.curves
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        fresh = [json.loads(line) for line in lines[self._curve_rows :]]
        if fresh:
            self.client.log_batch(self.id, metrics=[metric for row in fresh for metric in _points(row)])
            self._curve_rows = len(lines)

    def log_stage(self, outcome: Outcome) -> None:
        """Logs the seconds and the report of a stage that was computed."""
        if outcome.seconds is not None:
            numbers = {f"seconds/{outcome.stage}": outcome.seconds}
            flat = {**outcome.report, **outcome.report.get("more", {})}
            numbers |= {
                f"{outcome.stage}/{name}": value for name, value in flat.items() if isinstance(value, int | float)
            }
            self._log_metrics(numbers)

    def log_results(self) -> None:
        """Logs scores, pictures, tables, curves and the validation report from the stages' files."""
        self.follow_curves()
        self._log_metrics(dict(_scores(read_json(self._paths.metrics))))
        for folder in (self._paths.evaluate, self._paths.validate_):
            self.client.log_artifacts(self.id, str(folder), folder.name)
        for file in (self._paths.preview, self._paths.policy, self._paths.probe, self._paths.curves):
            self.client.log_artifact(self.id, str(file), file.parent.name)
        self.client.log_artifact(self.id, str(versioning.LOCK), "lineage")

    def metrics_so_far(self) -> Mapping[str, float]:
        """The latest value of each metric of the run; none if there is no run."""
        return dict(self.client.get_run(self._id).data.metrics) if self._id else {}

    @classmethod
    @contextmanager
    def of(cls, params: FlowParams) -> Iterator[Run]:
        """The run of a retraining; closed as FINISHED, FAILED, or KILLED when the flow is told to end."""
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
        """Ends the run, if there is one: FINISHED, FAILED or KILLED."""
        if self._id is not None:
            self.client.set_terminated(self._id, status)
        self._note.unlink(missing_ok=True)

    def _log_metrics(self, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, metrics=[Metric(name, float(value), now, 0) for name, value in numbers.items()])

    def _log_inputs(self, run_id: str) -> None:
        """Parameters, lineage tags, the data set, and the files that say exactly what ran."""
        from mlflow.entities import Param, RunTag

        paths, difference = self._paths, git.difference()
        tags = lineage(paths) | {Tag.CHECKOUT: CHECKOUT_ID, Tag.GIT_DIRTY: str(bool(difference)).lower()}
        document = {key: value for key, value in read_document(PARAMS_FILE).items() if key not in NAMED}
        params = [Param(name, value) for name, value in _flat(document)]
        for start in range(0, len(params), AT_ONCE):
            self.client.log_batch(run_id, params=params[start : start + AT_ONCE])
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self.client.log_inputs(run_id, [_dataset(paths)])
        brought_in = (versioning.dvc_file(place) for place in (paths.raw, paths.pretrained, paths.teacher))
        for file in (PARAMS_FILE, *brought_in):
            self.client.log_artifact(run_id, str(file), "lineage")
        self.client.log_text(run_id, difference, "lineage/difference.diff")

    def _keep(self) -> None:
        write_json(self._note, {"run": self._id, "inputs": self._inputs})

    def _adopted(self) -> tuple[str | None, int]:
        """The run that a killed flow left, and how much of the curves it has, if it started from the same inputs."""
        note = read_json(self._note) if self._note.exists() else {}
        running = {run.info.run_id for run in self._running()}
        if note.get("inputs") == self._inputs and note["run"] in running:
            return note["run"], self._logged_rows(note["run"])
        return None, 0

    def _logged_rows(self, run_id: str) -> int:
        """Rows of the curves that the run has. MLflow alone knows: a kill may follow on logging at once."""
        names = (f"{candidate.slug}/{Curve.VALIDATION_LOSS}" for candidate in Candidate)
        return sum(len(self.client.get_metric_history(run_id, name)) for name in names)

    def _close_leftovers(self) -> None:
        """Ends the runs that killed flows of this checkout left running."""
        for run in self._running():
            if run.info.run_id != self._id:
                self.client.set_terminated(run.info.run_id, KILLED)

    def _running(self) -> list[MlflowRun]:
        """Runs of this checkout that are not closed; only this flow is at work in it, since it holds the lock."""
        ours = f"attributes.status = 'RUNNING' and tags.`{Tag.CHECKOUT}` = '{CHECKOUT_ID}'"
        return list(self.client.search_runs([self.experiment], ours))


def lineage(paths: Paths) -> dict[str, str]:
    """Tags that say which data, weights and code."""
    return {
        Tag.DATA_MD5: versioning.tracked_md5(paths.raw),
        Tag.WEIGHTS_MD5: versioning.tracked_md5(paths.pretrained),
        Tag.TEACHER_MD5: versioning.tracked_md5(paths.teacher),
        Tag.GIT_COMMIT: git.commit(),
    }


def experiment_id(tracker: MlflowClient, name: str) -> str:
    """The experiment's id; in a database without a server its artifacts go below the registry, wherever this runs.

    Raises RootstockError for one that was deleted: MLflow keeps its name, and takes no runs.
    """
    from mlflow.entities import LifecycleStage

    found = tracker.get_experiment_by_name(name)
    if found is None:
        local = os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:")
        return str(tracker.create_experiment(name, artifact_location=str(REGISTRY / "artifacts") if local else None))
    if found.lifecycle_stage == LifecycleStage.DELETED:
        raise RootstockError(f"the experiment {name} was deleted in MLflow: restore it, or change register.experiment")
    return str(found.experiment_id)


def _dataset(paths: Paths) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    md5 = versioning.tracked_md5(paths.raw)
    source = json.dumps({"path": str(paths.raw), "md5": md5})
    dataset = Dataset(name=paths.raw.name, digest=md5, source_type="dvc", source=source)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training"), InputTag(Tag.DATA_MD5, md5)])


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _points(row: dict[str, Any]) -> Iterator[Metric]:
    """A row of the curve as metrics at its step."""
    from mlflow.entities import Metric

    slug = Candidate(row[Curve.CANDIDATE]).slug
    now = int(time.time() * 1000)
    for name in set(Curve) - {Curve.CANDIDATE, Curve.EPOCH, Curve.STEP}:
        if name in row:
            yield Metric(f"{slug}/{name}", row[name], now, row[Curve.STEP])


def _scores(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[tuple[str, float]]:
    """Test metrics of each candidate, such as tuned/accuracy, tuned/accuracy_low and tuned/accuracy_high."""
    for candidate, metrics in table.items():
        for metric, at in metrics.items():
            name = f"{Candidate(candidate).slug}/{metric}"
            yield from ((name, at[VALUE]), (f"{name}_{LOW}", at[LOW]), (f"{name}_{HIGH}", at[HIGH]))
