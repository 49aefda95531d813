"""Removes versions and runs from MLflow, with their files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flows.registry.store import client
from flows.registry.versions import find
from flows.retention.database import remove_logged_model, remove_run
from flows.retention.plan import RetentionPlan

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

FILES = ("", "file")  # schemes of artifacts on this machine


def remove(plan: RetentionPlan) -> None:
    """Removes versions first: if it is interrupted, the next plan has the runs that are left."""
    for version in plan.versions:
        _remove_version(version)
    for run in plan.runs:
        _remove_run(run)


def _remove_version(version: ModelVersion) -> None:
    """Removes a version, unless a person has given it an alias meanwhile or it is gone."""
    current = find(version.name, str(version.version))
    if current and not current.aliases:
        client().delete_model_version(version.name, str(version.version))


def _remove_run(run: Run) -> None:
    """Removes a run and the models that it logged: their files, then their entries."""
    query = f"source_run_id = '{run.info.run_id}'"
    for model in client().search_logged_models([run.info.experiment_id], query):
        _remove_files(model.artifact_location)
        remove_logged_model(model.model_id)
    _remove_files(run.info.artifact_uri)
    remove_run(run.info.run_id)


def _remove_files(address: str) -> None:
    """Removes artifacts; a folder on this machine with the folder around it, which is named after the run or model."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    parts = urlsplit(address)
    if parts.scheme in FILES and not Path(parts.path).exists():
        return
    get_artifact_repository(address).delete_artifacts()  # type: ignore[no-untyped-call]
    if parts.scheme in FILES:
        with suppress(OSError):
            Path(parts.path).parent.rmdir()
