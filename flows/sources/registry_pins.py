"""Pins: what the registry says is mutable, so it reaches the stages only as files that DVC and params can see.

`backbone.weights: models:/rootstock@champion` starts from an earlier model. Which version that is now stands in
data/pins.json, and its backbone is brought in like any other weights file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.versions import ARTIFACTS, SPEC, WEIGHTS, resolve
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.params import INIT, PINS

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from flows.config.parameters import FlowParams

REGISTRY = "models:/"


def pin(params: FlowParams) -> None:
    """Writes data/pins.json: null for what params.yaml does not ask for."""
    wanted = params.backbone.weights
    version = _version(wanted) if wanted.startswith(REGISTRY) else None
    pins = {INIT: f"{REGISTRY}{version.name}/{version.version}" if version else None}
    if not PINS.exists() or read_json(PINS) != pins:
        write_json(PINS, pins)


def registered_backbone(params: FlowParams) -> Path:
    """The pinned version's backbone, and its head beside it, as a weights file.

    Raises RootstockError if it is of another architecture and must not be.
    """
    from tasks.models import weights_file as weights

    version = _version(params.backbone.weights)
    file = params.paths.state / "source" / f"{_slug(version)}-whole.safetensors"
    if file.exists():
        return file
    artifacts = _artifacts(version)
    spec = read_json(artifacts["spec.json"])
    if spec["architecture"] != params.backbone.architecture and params.backbone.match == "strict":
        raise RootstockError(
            f"backbone.weights: version {version.version} of {version.name} is a {spec['architecture']}, but "
            f"backbone.architecture is {params.backbone.architecture}; set it to {spec['architecture']}"
        )
    state, _ = weights.read(artifacts["model.safetensors"])
    own = {name.removeprefix("backbone."): value for name, value in state.items()}  # the head stays below head.
    weights.write(file, own, {"preprocessing": spec["preprocessing"], "classes": spec["classes"]})
    return file


def registered_teacher(wanted: str, folder: Path) -> Path:
    """The version that models:/name@alias or models:/name/3 means now, whole, as a weights file."""
    from tasks.models import weights_file as weights
    from tasks.objectives.teacher import SPEC

    version = _version(wanted)
    file = folder / f"{_slug(version)}-teacher.safetensors"
    if not file.exists():
        artifacts = _artifacts(version)
        state, _ = weights.read(artifacts["model.safetensors"])
        weights.write(file, state, {SPEC: read_json(artifacts["spec.json"])})
    return file


def _artifacts(version: ModelVersion) -> dict[str, Path]:
    """The files of a version, by name. Raises RootstockError for a model that Rootstock did not register."""
    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts(f"{REGISTRY}{version.name}/{version.version}")) / ARTIFACTS
    found = {file.name: file for file in folder.iterdir()} if folder.is_dir() else {}
    if missing := [name for name in (SPEC, WEIGHTS) if name not in found]:
        raise RootstockError(
            f"{REGISTRY}{version.name}/{version.version} is no model of Rootstock: it has no {', '.join(missing)}"
        )
    return found


def _slug(version: ModelVersion) -> str:
    """A name for files that no version of another registry has."""
    return f"{version.name}-{version.version}-{hashlib.sha256(str(version.source).encode()).hexdigest()[:8]}"


def _version(wanted: str) -> ModelVersion:
    """The version that models:/name@alias or models:/name/3 means now. Raises RootstockError if there is none."""
    name, _, which = wanted.removeprefix(REGISTRY).replace("@", "/").rpartition("/")
    if not name or not which:
        raise RootstockError(f"{wanted}: which version? Give {REGISTRY}name@alias or {REGISTRY}name/3")
    return resolve(name, which)
