"""Finds registered versions by alias or number, and loads them with the scorer shipped with them, if it is trusted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from flows.registry.aliases import CHALLENGER, CHAMPION, LIVE
from flows.registry.records import check_recorded
from flows.registry.store import client
from flows.registry.trusted_code import check_trusted
from flows.registry.version_files import VersionFiles, downloaded
from flows.registry.version_record import LiveVersion
from tasks.core.errors import RootstockError
from tasks.evaluation.scorer_code import run_code

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MAX_DIGITS = 18  # of a version, in any database
MISSING_CODES = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow's codes for a missing model or alias


def resolve(name: str, reference: str) -> ModelVersion:
    """Returns the version of `name` with this number or alias. Raises RootstockError if there is none."""
    version = find(name, reference)
    if version is None:
        raise RootstockError(
            f"models:/{name}@{reference} is not in the registry: {_contents(name)}", key="version-not-found"
        )
    return version


def find(name: str, reference: str) -> ModelVersion | None:
    """Returns the version with this number or alias, or None. Raises MlflowException if the registry fails."""
    from mlflow.exceptions import MlflowException

    try:
        if is_number(reference):
            return client().get_model_version(name, reference)
        return client().get_model_version_by_alias(name, reference)
    except MlflowException as error:
        if error.error_code not in MISSING_CODES:
            raise
        return None


def find_number(name: str, number: str) -> ModelVersion | None:
    """Returns the version with this number, or None; an alias that is called like `number` leads to none."""
    return find(name, number) if is_number(number) else None


def is_number(reference: str) -> bool:
    """Returns whether the text can be the number of a version, and is no alias."""
    return reference.isascii() and reference.isdigit() and len(reference) < MAX_DIGITS


def newest(name: str) -> str | None:
    """Returns a reference to the newest version of `name`: its alias challenger, or a number; None if there is none."""
    if find(name, CHALLENGER):
        return CHALLENGER
    versions = client().search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
    return str(versions[0].version) if versions else None


def remove(version: ModelVersion) -> None:
    """Removes a version, unless a person has set an alias on it meanwhile or it is gone."""
    from mlflow.exceptions import MlflowException

    current = find(version.name, str(version.version))
    if current is None or current.aliases:
        return
    try:
        client().delete_model_version(version.name, str(version.version))
    except MlflowException as error:
        if error.error_code not in MISSING_CODES:
            raise


def has_run(run_id: str) -> bool:
    """Returns whether MLflow still has the run: a person may have deleted it, and `mlflow gc` removed it."""
    run = _run(run_id)
    return run is not None and run.info.lifecycle_stage == "active"


def has_ended(run_id: str) -> bool:
    """Returns whether the run has ended, by itself or by a signal; one whose process was killed has not."""
    run = _run(run_id)
    return run is None or run.info.status != "RUNNING"


def _run(run_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    try:
        return client().get_run(run_id)
    except MlflowException as error:
        if error.error_code not in MISSING_CODES:
            raise
        return None


def is_there(name: str, live: LiveVersion) -> bool:
    """Returns whether the registry has this version, created at the recorded time: numbers are reused."""
    match = find_number(name, live.number)
    return match is not None and live.is_same(LiveVersion.of(match))


def _contents(name: str) -> str:
    """Describes the versions of `name` by their aliases."""
    versions = client().search_model_versions(f"name = '{name}'", max_results=1)
    if not versions:
        return f"it holds no version of {name} yet; make run registers one"
    aliases = client().get_registered_model(name).aliases
    names = ", ".join(f"{alias} (version {number})" for alias, number in sorted(aliases.items())) or "none"
    return (
        f"its aliases are {names}. make run sets {CHALLENGER}, a person sets {CHAMPION}, the release then sets {LIVE}"
    )


def scorer_of(version: ModelVersion) -> Any:  # noqa: ANN401 - its class is in the version's own code
    """Loads the version's own scorer after checking that its files are those that were registered.

    The scorer is loaded from a private copy, so that nothing can change between check and load. Raises RootstockError
    if files cannot be read or do not match, or if the code is not trusted, since loading runs it.
    """
    with TemporaryDirectory() as private:
        files = downloaded(version, Path(private))
        return run_code(checked_code(version, files)).Scorer.load(files.spec, files.weights)


def checked_code(version: ModelVersion, files: VersionFiles) -> dict[str, bytes]:
    """Returns the scorer's source files. Raises RootstockError if `files` or they are not to be used."""
    code = files.code()
    check_recorded(version, files)
    check_trusted(code, version.name, str(version.version))
    return code
