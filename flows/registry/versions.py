"""Registered models: found by alias or number, and loaded with the scorer that was shipped with them."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.registry.runs import Tag
from flows.registry.store import client
from tasks.core.errors import RootstockError
from tasks.core.files import sha256_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"  # set by retrain: the version for the newest results
CHAMPION = "champion"  # set by a person: the version that is wished for
FILES = ("scorer.py", "spec.json", "model.safetensors")  # of a registered model: what answers
PRODUCTION = "-production"  # ends the name of the registered model that people copy a version to
NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}  # MLflow's words for no model, no alias
LIVE = "live"  # set by release alone: the version that answers


def resolve(name: str, wanted: str) -> ModelVersion:
    """The version of `name` with this number or alias. Raises RootstockError, saying what there is, if none."""
    found = find(name, wanted)
    if found is None:
        raise RootstockError(f"models:/{name}@{wanted} is not in the registry: {_what_there_is(name)}")
    return found


def find(name: str, wanted: str) -> ModelVersion | None:
    """The version with this number or alias, or None. A registry that cannot be asked is an error, not a None."""
    from mlflow.exceptions import MlflowException

    try:
        if wanted.isdigit():
            return client().get_model_version(name, wanted)
        return client().get_model_version_by_alias(name, wanted)
    except MlflowException as error:
        if error.error_code not in NOT_FOUND:
            raise
        return None


def made_at(version: ModelVersion | None) -> int | None:
    """When a version was made, in ms since 1970."""
    return int(version.creation_timestamp) if version else None


def is_there(name: str, version: str, made: int | None) -> bool:
    """Whether the registry has this very version: a number alone may be another's, where a model was deleted."""
    found = find(name, version)
    return found is not None and made in {None, made_at(found)}


def _what_there_is(name: str) -> str:
    versions = client().search_model_versions(f"name = '{name}'", max_results=1)
    if not versions:
        return f"it holds no version of {name} yet; make run registers one"
    aliases = client().get_registered_model(name).aliases
    told = ", ".join(f"{alias} (version {number})" for alias, number in sorted(aliases.items())) or "none"
    return f"its aliases are {told}. make run sets {CHALLENGER}, a person sets {CHAMPION}, the release then sets {LIVE}"


def scorer_of(version: ModelVersion) -> Any:  # noqa: ANN401 - of the version's own code
    """The version's scorer: weights with the code that they were evaluated with, and nothing else that lies there.

    Raises RootstockError if code, spec or weights are not what was registered: they are run, so they must be known.
    """
    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
    files = [next(folder.rglob(name)) for name in FILES]
    if digest_of(files) != version.tags.get(Tag.FILES):
        raise RootstockError(
            f"version {version.version} of {version.name}: {folder} does not hold what was registered; it is not run"
        )
    code, spec, weights = files
    return _module(code).Scorer.load(spec, weights)


def scorer_thresholds(scorer: Any) -> list[float]:  # noqa: ANN401 - of a version's own code, which may be older
    """The threshold of each label, where an image may have several; none elsewhere."""
    return list(map(float, getattr(scorer, "label_thresholds", ())))


def digest_of(files: Sequence[Path]) -> str:
    """One digest of several files' bytes."""
    return hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()


def _module(file: Path) -> Any:  # noqa: ANN401 - a module
    """A file as a module of its own name, so that two versions in one process do not run each other's code."""
    name = f"rootstock_scorer_{sha256_of(file)[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RootstockError(f"{file} is no Python file")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
