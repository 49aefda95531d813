"""The inputs of a run: their digest, and how they are logged, without the credentials in addresses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from flows.local import git
from flows.local.environment import MAIN_CHECKOUT
from flows.registry.run_entities import dataset_input, run_params
from flows.registry.tags import Tag, lineage
from flows.stages import dvc_cli
from tasks.core.params import PARAMS_FILE, read_document
from tasks.core.paths import Paths
from tasks.core.redaction import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOT_LOGGED = {"presets", "compare"}  # sections with named overrides, which by themselves change nothing
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


def log_inputs(tracker: MlflowClient, run_id: str, paths: Paths) -> None:
    """Logs the parameters, lineage tags and data set, and the files that define the run."""
    from mlflow.entities import RunTag

    difference = git.difference()
    tags = lineage(paths) | {Tag.CHECKOUT: CHECKOUT_ID, Tag.GIT_DIRTY: str(bool(difference)).lower()}
    document = {key: value for key, value in read_document(PARAMS_FILE).items() if key not in NOT_LOGGED}
    params = list(run_params(document))
    for start in range(0, len(params), BATCH):
        tracker.log_batch(run_id, params=params[start : start + BATCH])
    tracker.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
    tracker.log_inputs(run_id, [dataset_input(paths)])
    versions = (dvc_cli.dvc_file(target) for target in (paths.raw, paths.candidates, paths.teacher))
    for file in (PARAMS_FILE, *versions):
        log_lineage(tracker, run_id, file)
    tracker.log_text(run_id, difference, "lineage/difference.diff")


def log_lineage(tracker: MlflowClient, run_id: str, file: Path) -> None:
    """Logs a text file without the credentials in its addresses."""
    tracker.log_text(run_id, redact(file.read_text(encoding="utf-8")), f"lineage/{file.name}")
