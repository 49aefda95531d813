"""Pins: mutable references to the model registry are resolved to files, the only stage inputs that DVC can track.

`backbone.weights: models:/rootstock@champion` starts from an earlier model. Its current version is recorded in
data/pins.json, and its backbone is imported like any other weights file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from flows.registry.records import check_recorded
from flows.registry.version_files import VersionFiles, downloaded
from flows.registry.versions import resolve
from flows.sources.choices import remembered
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.params import CHOICE, HEIF, INIT, PINS
from tasks.core.schema import AUTO
from tasks.scorer.readers import heif_version

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from flows.config.parameters import FlowParams

REGISTRY = "models:/"
NEEDED = ("architecture", "preprocessing", "classes")  # keys of spec.json


def pin(params: FlowParams) -> None:
    """Writes data/pins.json: the version that backbone.weights names, the backbone chosen before, the HEIC package.

    Null stands for a reference to no registry, no choice, and a package that is not installed. Raises RootstockError if
    there is no such version.
    """
    reference = params.backbone.weights
    version = _version(reference) if reference.startswith(REGISTRY) else None
    initial = f"{REGISTRY}{version.name}/{version.version}" if version else None
    pins = {CHOICE: remembered(params), HEIF: heif_version(), INIT: initial}
    if not PINS.exists() or read_json(PINS) != pins:
        write_json(PINS, pins)


def registered_backbone(params: FlowParams) -> Path:
    """Returns the pinned version's backbone and head as a weights file, whose head keys begin with `head.`.

    Raises RootstockError if its architecture differs and backbone.match is strict.
    """
    version = _version(params.backbone.weights)
    file = params.paths.state / "source" / f"{_slug(version)}-network.safetensors"
    if file.exists():
        return file
    with _checked(version) as files:
        _write_backbone(version, files, params, file)
    return file


def _write_backbone(version: ModelVersion, files: VersionFiles, params: FlowParams, file: Path) -> None:
    from tasks.models import weights_file

    spec = _spec(files)
    strict = params.backbone.match == "strict" and params.backbone.architecture != AUTO
    if strict and spec["architecture"] != params.backbone.architecture:
        raise RootstockError(
            f"backbone.weights: version {version.version} of {version.name} is a {spec['architecture']}, but "
            f"backbone.architecture is {params.backbone.architecture}; set it to {spec['architecture']}",
            key="backbone.weights",
        )
    state, _ = weights_file.read(files.weights)
    renamed = {name.removeprefix("backbone."): value for name, value in state.items()}
    weights_file.write(file, renamed, {"preprocessing": spec["preprocessing"], "classes": spec["classes"]})


def registered_architecture(params: FlowParams) -> str:
    """Returns the architecture of the version that backbone.weights names. Raises RootstockError if there is none."""
    version = _version(params.backbone.weights)
    with _checked(version) as files:
        return str(_spec(files)["architecture"])


def registered_teacher(reference: str, folder: Path) -> Path:
    """Returns the whole model of models:/name@alias or models:/name/3 as a weights file in `folder`.

    Raises RootstockError if there is no such version.
    """
    from tasks.models import weights_file
    from tasks.objectives.teacher import SPEC as TEACHER_SPEC

    version = _version(reference)
    file = folder / f"{_slug(version)}-teacher-network.safetensors"
    if not file.exists():
        with _checked(version) as files:
            state, _ = weights_file.read(files.weights)
            weights_file.write(file, state, {TEACHER_SPEC: _spec(files)})
    return file


@contextmanager
def _checked(version: ModelVersion) -> Iterator[VersionFiles]:
    """Yields a private copy of a version's files, which are those that were registered.

    Raises RootstockError if they are not, cannot be read, or are of a model that Rootstock did not register.
    """
    with TemporaryDirectory() as private:
        files = downloaded(version, Path(private))
        if missing := [file.name for file in (files.spec, files.weights) if not file.is_file()]:
            raise RootstockError(
                f"{files.version} is not a Rootstock model: it has no {', '.join(missing)}",
                key="not-a-rootstock-model",
            )
        _spec(files)
        check_recorded(version, files)
        yield files


def _spec(files: VersionFiles) -> dict[str, Any]:
    """Returns the contents of spec.json. Raises RootstockError if it does not describe a model."""
    try:
        spec = read_json(files.spec)
    except ValueError:
        spec = None
    if not isinstance(spec, dict) or (missing := [key for key in NEEDED if key not in spec]):
        lacks = f"lacks {', '.join(missing)}" if isinstance(spec, dict) else "is no JSON object"
        raise RootstockError(
            f"{files.version} is not a Rootstock model: its {files.spec.name} {lacks}", key="not-a-rootstock-model"
        )
    return spec


def _slug(version: ModelVersion) -> str:
    """Returns a prefix for file names that is unique across registries.

    What earlier releases of Rootstock wrote, without a check, has other endings.
    """
    return f"{version.name}-{version.version}-{hashlib.sha256(str(version.source).encode()).hexdigest()[:8]}"


def _version(reference: str) -> ModelVersion:
    """Resolves models:/name@alias or models:/name/3. Raises RootstockError if there is no such version."""
    name, _, version = reference.removeprefix(REGISTRY).replace("@", "/").rpartition("/")
    if not name or not version:
        message = f"{reference}: the version is missing; give {REGISTRY}name@alias or {REGISTRY}name/3"
        raise RootstockError(message, key="no-version")
    return resolve(name, version)
