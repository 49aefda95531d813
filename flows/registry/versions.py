"""Registered models: found by alias or number, and loaded with the scorer that was shipped with them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from flows.registry.scorer_code import digest_of, read_code, run_code
from flows.registry.store import client
from flows.registry.tags import Tag
from tasks.core.errors import RootstockError
from tasks.core.target import TargetKind, kind_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHALLENGER = "challenger"  # set by retrain: the version for the newest results
CHAMPION = "champion"  # set by a person: the version that is wished for
ARTIFACTS, SPEC, WEIGHTS = "artifacts", "spec.json", "model.safetensors"  # a version's folder, and files in it
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

    It is made from a copy that nobody else writes to, so that what was checked is what is loaded. Raises
    RootstockError if code, spec or weights are not what was registered: they are run, so they must be known.
    """
    import mlflow

    name = f"version {version.version} of {version.name}"
    with TemporaryDirectory() as ours:
        copy = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=ours)
        folder = Path(copy) / ARTIFACTS
        try:
            spec = (folder / SPEC).read_bytes()
            code = read_code(folder, spec)
            is_registered = digest_of(code, spec, folder / WEIGHTS) == version.tags.get(Tag.FILES)
        except (OSError, ValueError) as error:
            raise RootstockError(f"{name} cannot be loaded: {error}") from None
        if not is_registered:
            raise RootstockError(f"{name} does not hold what was registered; it is not run")
        return run_code(code).Scorer.load(folder / SPEC, folder / WEIGHTS)


def scorer_thresholds(scorer: Any) -> list[float]:  # noqa: ANN401 - of a version's own code, which may be older
    """Returns the threshold of each label, where an image may have several; none elsewhere."""
    return list(map(float, getattr(scorer, "label_thresholds", ())))


def scorer_kind(scorer: Any) -> TargetKind:  # noqa: ANN401 - as above
    """Returns the kind of target that a version's scorer predicts."""
    return kind_of({"targets": list(scorer.targets), "label_thresholds": scorer_thresholds(scorer)})
