"""Registered models: found by alias or number, and loaded with the scorer that was shipped with them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.tracking import Tag, client
from tasks.parts.errors import RootstockError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"  # set by retrain: the version for the newest results
CHAMPION = "champion"  # set by a person: the version that is wished for
PRODUCTION = "-production"  # ends the name of the registered model that people copy a version to
LIVE = "live"  # set by release alone: the version that answers


def resolve(name: str, wanted: str) -> ModelVersion:
    """The version of `name` with this number or alias. Raises RootstockError, saying what there is, if none."""
    from mlflow.exceptions import MlflowException

    try:
        if wanted.isdigit():
            return client().get_model_version(name, wanted)
        return client().get_model_version_by_alias(name, wanted)
    except MlflowException:
        raise RootstockError(f"models:/{name}@{wanted} is not in the registry: {_what_there_is(name)}") from None


def find(name: str, alias: str) -> ModelVersion | None:
    """The version that has this alias, or None."""
    try:
        return resolve(name, alias)
    except RootstockError:
        return None


def _what_there_is(name: str) -> str:
    versions = client().search_model_versions(f"name = '{name}'", max_results=1)
    if not versions:
        return f"it holds no version of {name} yet; make run registers one"
    aliases = client().get_registered_model(name).aliases
    told = ", ".join(f"{alias} (version {number})" for alias, number in sorted(aliases.items())) or "none"
    return f"its aliases are {told}. make run sets {CHALLENGER}, a person sets {CHAMPION}, the release then sets {LIVE}"


def scorer_of(version: ModelVersion) -> Any:  # noqa: ANN401 - of the version's own code
    """The version's scorer: weights with the code that they were evaluated with.

    Raises RootstockError if that code is not what was registered: it is run, so it must be known.
    """
    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
    (code,) = folder.rglob("scorer.py")
    found = hashlib.sha256(code.read_bytes()).hexdigest()
    if found != version.tags.get(Tag.SCORER):
        raise RootstockError(
            f"version {version.version} of {version.name}: {code} is not the code that was registered; it is not run"
        )
    return mlflow.pyfunc.load_model(str(folder)).unwrap_python_model().scorer
