"""The pretrained network: its weights, preprocessing and width.

Shapes: N images, S the input's side, D features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tasks.core.errors import RootstockError
from tasks.scorer.architectures import BUILTIN_ARCHITECTURES, build_backbone, folded
from tasks.scorer.preprocessing import Preprocessing

# Cut off, so not asked of a weights file: classifiers, and the side branches that only ImageNet training used.
CLASSIFIERS = ("fc.", "classifier.", "head.", "heads.", "aux1.", "aux2.", "AuxLogits.")
VIT_SIDE = 224  # pixels that torchvision builds vision transformers for


@dataclass(frozen=True)
class Backbone:
    """A network from (N, 3, S, S) to (N, D), and the preprocessing that its weights were trained with."""

    module: nn.Module
    width: int
    preprocessing: Preprocessing

    def folded(self) -> Backbone:
        """The same for answering alone, with its BatchNorms folded."""
        return replace(self, module=folded(self.module))


def build(
    architecture: str,
    state: dict[str, Tensor],
    description: dict[str, object],
    resize: int | None,
    crop: int | None,
    cut: str = "layer",
    letterbox: bool = False,
) -> Backbone:
    """The backbone with these weights. Raises RootstockError if there is no such architecture or they do not fit."""
    check_architecture(architecture)
    module, width = build_backbone(architecture, cut)
    _load(module, state, architecture)
    return Backbone(module.eval(), width, preprocessing_of(architecture, description, resize, crop, letterbox))


def check_architecture(architecture: str) -> None:
    """Raises RootstockError, with near names, unless the architecture is known."""
    from difflib import get_close_matches

    from torchvision import models

    known = [*BUILTIN_ARCHITECTURES, *models.list_models(module=models)]
    if architecture not in known:
        near = get_close_matches(architecture, known) or ["resnet10", "mobilenet_v2", "resnet50"]
        raise RootstockError(f"backbone.architecture: there is no '{architecture}'; did you mean {' or '.join(near)}?")


def preprocessing_of(
    architecture: str,
    description: dict[str, object],
    resize: int | None,
    crop: int | None,
    letterbox: bool = False,
) -> Preprocessing:
    """As the weights file says, else as torchvision's first weights of the architecture; then `resize` and `crop`.

    With `letterbox` the whole picture is seen: the square is as large as what the network takes.
    """
    if "preprocessing" in description:
        found = Preprocessing.of(description["preprocessing"])  # type: ignore[arg-type]
    elif architecture in BUILTIN_ARCHITECTURES:
        raise RootstockError(f"these weights of {architecture} do not say their preprocessing; use the embedded ones")
    else:
        found = torchvision_preprocessing(architecture)
    chosen = replace(found, resize=resize or found.resize, crop=crop or found.crop, letterbox=letterbox)
    if letterbox and resize not in {None, chosen.crop}:
        raise RootstockError(
            "backbone.resize: with a letterbox the picture is as large as backbone.crop; set it to null"
        )
    if letterbox:
        return replace(chosen, resize=chosen.crop)
    if chosen.crop > chosen.resize:
        raise RootstockError(f"backbone.crop ({chosen.crop}) is larger than backbone.resize ({chosen.resize})")
    return chosen


def torchvision_preprocessing(architecture: str, name: str | None = None) -> Preprocessing:
    """That of torchvision's weights of this name; without one, of the first that fit the architecture as built."""
    from torchvision.models import get_model_weights

    check_architecture(architecture)
    known = get_model_weights(architecture)
    transforms = [known[name].transforms()] if name else [weights.transforms() for weights in known]
    if architecture.startswith("vit_"):
        transforms = [t for t in transforms if t.crop_size[0] == VIT_SIDE] or transforms
    transform = transforms[0]
    return Preprocessing(
        resize=transform.resize_size[0],
        crop=transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
    )


def _load(module: nn.Module, state: dict[str, Tensor], architecture: str) -> None:
    """Strictly, but for the classifier that was cut off. Raises RootstockError naming what does not fit."""
    own = module.state_dict()
    given = {name: tensor for name, tensor in state.items() if name in own or not name.startswith(CLASSIFIERS)}
    faults = [
        *(f"missing {name}" for name in own.keys() - given.keys() if not name.endswith("num_batches_tracked")),
        *(f"unknown {name}" for name in given.keys() - own.keys()),
        *(
            f"{name} is {list(given[name].shape)}, not {list(own[name].shape)}"
            for name in own.keys() & given.keys()
            if own[name].shape != given[name].shape
        ),
    ]
    if faults:
        listed = "; ".join(sorted(faults)[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
        raise RootstockError(f"backbone.weights are not those of a {architecture}: {listed}")
    module.load_state_dict(given, strict=False)


def embed(module: nn.Module, x_N3SS: Tensor) -> Tensor:
    """Features, (N, D) float32. Raises RootstockError if the device's memory cannot hold so many pictures."""
    try:
        with torch.inference_mode():
            features: Tensor = module(x_N3SS)
            return features.float()
    except torch.OutOfMemoryError:
        raise RootstockError(
            f"the device's memory cannot hold {len(x_N3SS)} images in a forward pass: lower compute.batch"
        ) from None
