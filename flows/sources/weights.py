"""The weights that backbone.weights and teacher.weights name, as files: given, downloaded, registered or random."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from flows.config.parameters import FlowParams
from flows.local.environment import CHECKOUT, MAIN_CHECKOUT
from flows.sources.registry_pins import REGISTRY, registered_backbone, registered_teacher
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.sections import NO_TEACHER, Objective

TORCHVISION = "torchvision:"
RANDOM = "random"


def weights_of(params: FlowParams) -> Path:
    """The file that backbone.weights names; what matches of it, where that is asked for."""
    file = _named_weights(params)
    return matched(file, params) if params.backbone.match == "names" else file


def matched(file: Path, params: FlowParams) -> Path:
    """A whole weights file of the architecture, begun with what matches in `file`; says what was taken."""
    from tasks.core.files import sha256_of
    from tasks.core.progress import say
    from tasks.models import weights_file as weights
    from tasks.models.backbone import check_architecture, preprocessing_of
    from tasks.models.partial_loading import EARLIER, load_matching

    architecture = params.backbone.architecture
    check_architecture(architecture)
    target = params.paths.state / "source" / f"{architecture}-{sha256_of(file)[:16]}.safetensors"
    if not target.exists():
        state, description = weights.read(file)
        begun, report = load_matching(architecture, state)
        found = preprocessing_of(architecture, description, None, None)
        head = {name: tensor for name, tensor in state.items() if name.startswith(EARLIER)}
        known = {"classes": description["classes"]} if "classes" in description else {}
        weights.write(target, {**head, **begun}, {"preprocessing": asdict(found), "taken": report, **known})
    say(f"backbone: {weights.read(target)[1]['taken']}")
    return target


def _named_weights(params: FlowParams) -> Path:
    """The file that backbone.weights names; torchvision's are downloaded once, their checksum compared."""
    wanted = params.backbone.weights
    if wanted.startswith(REGISTRY):
        return registered_backbone(params)
    if wanted == RANDOM:
        return random_weights(params)
    return _file_of("backbone.weights", wanted, params.backbone.architecture, params.paths.state / "source")


def _file_of(key: str, wanted: str, architecture: str, folder: Path) -> Path:
    """The file that `wanted` names, the value of this key; torchvision's are downloaded into `folder`."""
    if wanted.startswith(TORCHVISION):
        return downloaded(architecture, wanted.removeprefix(TORCHVISION), folder)
    file = next((place for place in (CHECKOUT / wanted, MAIN_CHECKOUT / wanted) if place.is_file()), Path(wanted))
    if not file.is_file():
        raise RootstockError(
            f"{key}: {file} is no file; give a .safetensors or .pth file, torchvision:DEFAULT, "
            "models:/name@alias" + (", or random" if key == "backbone.weights" else "")
        )
    return file


def teacher_of(params: FlowParams) -> Path:
    """The file that teacher.weights names; one with nothing in it where there is no teacher.

    Raises ParamsError where there must be one.
    """
    wanted, folder = params.teacher, params.paths.state / "source"
    if wanted.weights is None:
        if params.objective is Objective.DISTILLATION:
            raise ParamsError(NO_TEACHER)
        nobody = folder / "no-teacher.safetensors"
        if not nobody.exists():
            from tasks.models import weights_file as weights

            weights.write(nobody, {})
        return nobody
    if wanted.weights.startswith(REGISTRY):
        return registered_teacher(wanted.weights, folder)
    if wanted.weights.startswith(TORCHVISION) and wanted.architecture is None:
        raise RootstockError("teacher.architecture: name it, such as resnet50, where teacher.weights is torchvision's")
    return _file_of("teacher.weights", wanted.weights, wanted.architecture or "", folder)


def random_weights(params: FlowParams) -> Path:
    """Seeded random weights, which know nothing: to see what pretraining is worth, or where nothing can be had."""
    import torch

    from tasks.models import weights_file as weights
    from tasks.models.backbone import check_architecture, torchvision_preprocessing
    from tasks.scorer.architectures import BUILTIN_ARCHITECTURES, build_backbone

    wanted = params.backbone
    file = params.paths.state / "source" / f"{wanted.architecture}-{wanted.cut}-random.safetensors"
    if not file.exists():
        check_architecture(wanted.architecture)
        torch.manual_seed(0)
        module, _ = build_backbone(wanted.architecture, wanted.cut)
        like = "resnet18" if wanted.architecture in BUILTIN_ARCHITECTURES else wanted.architecture
        weights.write(file, module.state_dict(), {"preprocessing": asdict(torchvision_preprocessing(like))})
    return file


def downloaded(architecture: str, name: str, folder: Path) -> Path:
    """Torchvision's weights of this name, with their preprocessing, as a file in `folder`.

    Downloaded once, into torch's cache, the checksum compared. Raises RootstockError if they cannot be had.
    """
    import torch
    from torchvision.models import get_model_weights

    from tasks.models import weights_file as weights
    from tasks.models.backbone import check_architecture, torchvision_preprocessing

    check_architecture(architecture)
    try:
        wanted = get_model_weights(architecture)[name]
    except (ValueError, KeyError):
        known = ", ".join(each.name for each in get_model_weights(architecture))
        raise RootstockError(
            f"backbone.weights: torchvision has no {name} for {architecture}; it has DEFAULT, {known}"
        ) from None
    file = folder / f"{architecture}-{wanted.name}.safetensors"
    if not file.exists():
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(wanted.url).name
        try:
            state = wanted.get_state_dict(check_hash=True, progress=False)
        except (OSError, RuntimeError) as error:
            raise RootstockError(
                f"backbone.weights: {wanted.url} could not be downloaded ({error}); fetch it elsewhere and put it at "
                f"{cached}, or set backbone.weights to the file"
            ) from None
        description = {"preprocessing": asdict(torchvision_preprocessing(architecture, wanted.name))}
        weights.write(file, dict(state), description)
    return file
