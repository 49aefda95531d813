"""Weights files for backbone.weights and teacher.weights: local, packaged, downloaded, registered or random."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.config.parameters import FlowParams
from flows.local.environment import CHECKOUT, MAIN_CHECKOUT
from flows.sources.packaged_weights import PACKAGE, PACKAGES, packaged
from flows.sources.registry_pins import REGISTRY, registered_backbone, registered_teacher
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.near_names import similar_beside
from tasks.core.objective_sections import NO_TEACHER, Objective
from tasks.core.schema import AUTO

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

TORCHVISION = "torchvision:"
RANDOM = "random"
EMBEDDED = "data/backbone/resnet10-glyphs.safetensors"
WITH_ROOTSTOCK = {"resnet10": EMBEDDED, **{weights.architecture: PACKAGE + name for name, weights in PACKAGES.items()}}
NO_ARCHITECTURE = "teacher.architecture: weights of torchvision need an architecture, such as resnet50"


def weights_of(params: FlowParams) -> Path:
    """Returns the file that backbone.weights names, reduced to matching tensors if backbone.match is names."""
    file = _named_weights(params)
    return matched(file, params) if params.backbone.match == "names" else file


def matched(file: Path, params: FlowParams) -> Path:
    """Returns a complete weights file for the architecture, initialized with the matching tensors in `file`.

    Logs which tensors were used.
    """
    from tasks.core.files import sha256_of
    from tasks.core.progress import say
    from tasks.models import weights_file
    from tasks.models.backbone import (
        assumption_of,
        check_architecture,
        preprocessing_fields,
        preprocessing_of,
        torchvision_name,
    )
    from tasks.models.partial_loading import EARLIER, load_matching

    architecture = params.backbone.architecture
    check_architecture(architecture)
    digest = sha256_of(file)
    name = torchvision_name(architecture, {weights_file.SHA256: digest}) or "file"
    target = params.paths.state / "source" / f"{architecture}-{name}-{digest[:16]}.safetensors"
    if not target.exists():
        state, description = weights_file.read(file)
        initialized, report = load_matching(architecture, state)
        preprocessing = preprocessing_of(architecture, description, None, None)
        head = {name: tensor for name, tensor in state.items() if name.startswith(EARLIER)}
        classes = {"classes": description["classes"]} if "classes" in description else {}
        taken = "; ".join(filter(None, [report, assumption_of(architecture, description)]))
        new_description = {"preprocessing": preprocessing_fields(preprocessing), "taken": taken, **classes}
        weights_file.write(target, {**head, **initialized}, new_description)
    say(f"backbone: {weights_file.read(target)[1]['taken']}")
    return target


def _named_weights(params: FlowParams) -> Path:
    """Returns the file that backbone.weights names; `auto` is what comes with Rootstock for the architecture."""
    backbone = params.backbone
    name = WITH_ROOTSTOCK[backbone.architecture] if backbone.weights == AUTO else backbone.weights
    if name.startswith(REGISTRY):
        return registered_backbone(params)
    if name == RANDOM:
        return random_weights(params)
    return named_file("backbone.weights", name, params.backbone.architecture, params.paths.state / "source")


def named_file(key: str, name: str, architecture: str, folder: Path) -> Path:
    """Returns the file that parameter `key` with value `name` refers to; converted weights are saved in `folder`."""
    if name.startswith(TORCHVISION):
        return downloaded(architecture, name.removeprefix(TORCHVISION), folder, key)
    if name.startswith(PACKAGE):
        return packaged(name.removeprefix(PACKAGE), architecture, folder, key)
    return existing_file(key, name)


def existing_file(key: str, name: str) -> Path:
    """Returns the weights file that parameter `key` names. Raises ParamsError, with similar names, if there is none."""
    places = [CHECKOUT / name, MAIN_CHECKOUT / name]
    file = next((path for path in places if path.is_file()), None)
    if file is None:
        remedy = similar_beside(places[-1])
        kinds = "a .safetensors or .pth file, package:NAME, torchvision:DEFAULT, models:/name@alias"
        more = ", or random" if key == "backbone.weights" else ""
        raise ParamsError(f"{key}: {name} is no file{remedy or f'; give {kinds}{more}'}", key=key)
    return file


def teacher_of(params: FlowParams) -> Path:
    """Returns the file that teacher.weights names, or an empty weights file if there is no teacher.

    Raises ParamsError if the objective needs a teacher and there is none.
    """
    teacher, folder = params.teacher, params.paths.state / "source"
    if teacher.weights is None:
        if params.objective is Objective.DISTILLATION:
            raise ParamsError(NO_TEACHER, key="teacher.weights")
        return _no_teacher(folder / "no-teacher.safetensors")
    if teacher.weights.startswith(REGISTRY):
        return registered_teacher(teacher.weights, folder)
    if teacher.weights.startswith(TORCHVISION) and teacher.architecture is None:
        raise ParamsError(NO_ARCHITECTURE, key="teacher.architecture")
    return named_file("teacher.weights", teacher.weights, teacher.architecture or "", folder)


def _no_teacher(file: Path) -> Path:
    if not file.exists():
        from tasks.models import weights_file

        weights_file.write(file, {})
    return file


def random_weights(params: FlowParams) -> Path:
    """Writes random weights with a fixed seed: a baseline for pretraining, or a start without other weights."""
    import torch

    from tasks.models import weights_file
    from tasks.models.backbone import check_architecture, preprocessing_fields, torchvision_preprocessing
    from tasks.scorer.architectures import BUILTIN_ARCHITECTURES, build_backbone

    architecture, cut = params.backbone.architecture, params.backbone.cut
    file = params.paths.state / "source" / f"{architecture}-{cut}-random.safetensors"
    if not file.exists():
        check_architecture(architecture)
        torch.manual_seed(0)
        module, _ = build_backbone(architecture, cut)
        like = "resnet18" if architecture in BUILTIN_ARCHITECTURES else architecture
        weights_file.write(
            file, module.state_dict(), {"preprocessing": preprocessing_fields(torchvision_preprocessing(like))}
        )
    return file


def torchvision_entry(architecture: str, name: str, key: str) -> WeightsEnum:
    """Returns torchvision's weights with this name. Raises ParamsError if there is no such architecture or weights."""
    from torchvision.models import get_model_weights

    from tasks.models.backbone import check_architecture

    section = key.partition(".")[0]
    check_architecture(architecture, f"{section}.architecture")
    try:
        entries = get_model_weights(architecture)
    except ValueError:  # an architecture that only Rootstock has
        message = f"{key}: torchvision has no weights for {architecture}; give a file, or set {section}.architecture"
        raise ParamsError(message, key=key) from None
    if name not in entries.__members__:
        names = ", ".join(each.name for each in entries)
        message = f"{key}: torchvision has no {name} for {architecture}; it has DEFAULT, {names}"
        raise ParamsError(message, key=key)
    return entries[name]


def is_downloaded(architecture: str, name: str, key: str) -> bool:
    """Returns whether torch's cache has the weights `torchvision:NAME`. Raises ParamsError if there are none."""
    return _cached(torchvision_entry(architecture, name.removeprefix(TORCHVISION), key)).exists()


def downloaded(architecture: str, name: str, folder: Path, key: str = "backbone.weights") -> Path:
    """Returns the torchvision weights with this name, and their preprocessing, as a file in `folder`.

    They are downloaded once into torch's cache and checked against their checksum. Raises RootstockError, with the
    parameter `key`, if there are no such weights or the download fails.
    """
    from tasks.models import weights_file
    from tasks.models.backbone import preprocessing_fields, torchvision_preprocessing

    entry = torchvision_entry(architecture, name, key)
    file = folder / f"{architecture}-{entry.name}.safetensors"
    if not file.exists():
        try:
            state = entry.get_state_dict(check_hash=True, progress=False)
        except (OSError, RuntimeError) as error:
            raise RootstockError(
                f"{key}: {entry.url} could not be downloaded ({error}); download it elsewhere and put it at "
                f"{_cached(entry)}, or set {key} to the file",
                key="download-failed",
            ) from None
        description = {"preprocessing": preprocessing_fields(torchvision_preprocessing(architecture, entry.name))}
        weights_file.write(file, dict(state), description)
    return file


def _cached(entry: WeightsEnum) -> Path:
    """Returns the file in torch's cache to which torchvision downloads weights."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
