"""Removes versions and runs from MLflow, with their files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.ledger_owner import locked_ledger
from flows.registry.store import client
from flows.registry.versions import remove
from flows.retention.database import remove_logged_model, remove_run
from flows.retention.plan import RetentionPlan

if TYPE_CHECKING:
    from mlflow.entities import Run

SCHEME = "file://"


def remove_from_mlflow(plan: RetentionPlan, model: str, ledger_file: Path | None = None) -> list[str]:
    """Removes versions, then runs, so that the next plan has the runs that are left after an interruption.

    Returns a line for each item that could not be removed. The ledger is held for each version, not for all of it, so
    that a release or a rollback does not wait.
    """
    failures = []
    for version in plan.versions:
        with locked_ledger(model, ledger_file):
            remove(version)
    for run in plan.runs:
        try:
            _remove_run(run)
        except Exception as error:
            failures.append(f"run {run.info.run_id} is left: {type(error).__name__}: {error}")
    return failures


def _remove_run(run: Run) -> None:
    """Removes a run and the models that it logged, their files before their entries, unless a version needs them."""
    query, tracker = f"run_id = '{run.info.run_id}'", client()
    logged = tracker.search_logged_models([run.info.experiment_id], f"source_{query}")
    sources = [f"source_path = 'models:/{model.model_id}'" for model in logged]
    if any(tracker.search_model_versions(each, max_results=1) for each in (query, *sources)):
        return
    for model in logged:
        _remove_files(model.artifact_location)
        remove_logged_model(model.model_id)
    _remove_files(run.info.artifact_uri)
    remove_run(run.info.run_id)


def _remove_files(address: str) -> None:
    """Removes artifacts; a folder on this machine with the folder around it, which is named after the run or model."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder = Path(address.removeprefix(SCHEME)) if address.startswith(("/", SCHEME)) else None
    if folder and not folder.exists():
        return
    get_artifact_repository(address).delete_artifacts()  # type: ignore[no-untyped-call]
    if folder:
        with suppress(OSError):
            folder.parent.rmdir()
