"""The names in params.yaml of files, folders and networks, checked before anything is written."""

from __future__ import annotations

from flows.config.parameters import DIGITS, ROTATIONS, FlowParams
from flows.local.environment import MAIN_CHECKOUT
from flows.sources.addresses import check_address, is_address
from flows.sources.packaged_weights import PACKAGE, entry_of
from flows.sources.registry_pins import REGISTRY
from flows.sources.torchvision_names import torchvision_names
from flows.sources.weights import NO_ARCHITECTURE, RANDOM, TORCHVISION, WITH_ROOTSTOCK, existing_file, torchvision_entry
from tasks.core.errors import ParamsError
from tasks.core.near_names import did_you_mean, similar_beside
from tasks.core.schema import AUTO
from tasks.core.sections import BackboneParams

BUILTIN = ("resnet10", "resnet8", "resnet20", "efficientnet_lite0")  # known without importing torch
SOURCES = (
    "give a folder of class/*.jpg or train|val|test/class/*.jpg, a .csv, .tsv, .jsonl or .parquet file with columns "
    "path and label, or a .zip or .tar of one, or an address of one, such as s3://bucket/images"
)


def check_names(params: FlowParams) -> None:
    """Raises ParamsError if there is no such data source, architecture or weights file. Does not ask the registry."""
    check_source(params.data.source)
    _check("backbone", params.backbone.architecture, params.backbone.weights)
    _check_pair(params.backbone)
    for architecture, weights in params.backbone.candidates.items():
        _check("backbone", architecture, weights)
    if params.teacher.weights is not None:
        _check("teacher", params.teacher.architecture, params.teacher.weights)


def _check_pair(backbone: BackboneParams) -> None:
    """Raises ParamsError if only one of architecture and weights is `auto`, and the other does not determine it."""
    architecture, weights = backbone.architecture, backbone.weights
    if architecture == AUTO and weights != AUTO and not weights.startswith(REGISTRY):
        raise ParamsError(
            f"backbone.architecture: name the architecture of {weights}, or set backbone.weights to auto",
            key="backbone.architecture",
        )
    if weights == AUTO and architecture != AUTO and architecture not in WITH_ROOTSTOCK:
        raise ParamsError(
            f"backbone.weights: name the weights of {architecture}, such as torchvision:DEFAULT, a file, or random",
            key="backbone.weights",
        )
    if architecture == AUTO and backbone.match == "names":
        raise ParamsError(
            "backbone.match: parameters are matched by name for a named architecture; set backbone.match to strict",
            key="backbone.match",
        )


def check_source(name: str) -> None:
    """Raises ParamsError, with similar names beside it, if data.source does not exist. Asks no server."""
    if is_address(name):
        check_address(name)
        return
    source = MAIN_CHECKOUT / name
    if name in {DIGITS, ROTATIONS} or source.exists():
        return
    near = did_you_mean(name, (DIGITS, ROTATIONS)) or similar_beside(source)
    raise ParamsError(
        f"data.source: {source} is no folder, table or archive{near}" + ("" if near else f"; {SOURCES}"),
        key="data.source",
    )


def _check(section: str, architecture: str | None, weights: str) -> None:
    if architecture is not None and architecture not in {*BUILTIN, AUTO, *torchvision_names()}:
        from tasks.models.backbone import check_architecture

        check_architecture(architecture, f"{section}.architecture")
    key = f"{section}.weights"
    if weights.startswith(TORCHVISION):
        if architecture is None:
            raise ParamsError(NO_ARCHITECTURE, key="teacher.architecture")
        torchvision_entry(architecture, weights.removeprefix(TORCHVISION), key)
    elif weights.startswith(PACKAGE):
        entry_of(weights.removeprefix(PACKAGE), architecture, key)
    elif not weights.startswith(REGISTRY) and weights not in {RANDOM, AUTO}:
        existing_file(key, weights)
