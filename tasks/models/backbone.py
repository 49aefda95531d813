"""Builds pretrained backbones with their preprocessing. Shapes: N images, S side of the input, D features."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from tasks.core.errors import ParamsError, RootstockError
from tasks.core.near_names import did_you_mean
from tasks.core.schema import AUTO
from tasks.models.weights_file import SHA256
from tasks.scorer.architectures import BUILTIN_ARCHITECTURES, build_backbone, folded
from tasks.scorer.decode import DEFAULT, Decoding
from tasks.scorer.preprocessing import Preprocessing

# Parameters that a weights file may contain beyond the backbone's: classifiers and auxiliary classifiers.
CLASSIFIERS = ("fc.", "classifier.", "head.", "heads.", "aux1.", "aux2.", "AuxLogits.")
ARCHITECTURE = "architecture"  # key of a weights file's description
VIT_SIDE = 224  # pixels; the input size for which torchvision builds vision transformers


@dataclass(frozen=True)
class Backbone:
    """A network from (N, 3, S, S) to (N, D), its architecture, and the preprocessing that its weights need."""

    module: nn.Module
    width: int
    preprocessing: Preprocessing
    architecture: str = ""

    def folded(self) -> Backbone:
        """Returns an inference-only copy with BatchNorm folded into the convolutions."""
        return replace(self, module=folded(self.module))


def build(
    architecture: str,
    state: dict[str, Tensor],
    description: dict[str, object],
    resize: int | None,
    crop: int | None,
    cut: str = "layer",
    letterbox: bool = False,
    decoding: Decoding = DEFAULT,
) -> Backbone:
    """Builds the backbone and loads `state`; `resize` and `crop` (pixels) override its preprocessing.

    Raises RootstockError if the architecture does not exist or the weights do not fit it.
    """
    architecture = architecture_of(architecture, description)
    check_architecture(architecture)
    module, width = build_backbone(architecture, cut)
    _load(module, state, architecture)
    preprocessing = preprocessing_of(architecture, description, resize, crop, letterbox, decoding)
    return Backbone(module.eval(), width, preprocessing, architecture)


def architecture_of(architecture: str, description: dict[str, object]) -> str:
    """Returns the architecture; if it is `auto`, the one that the weights file's description names."""
    return str(description[ARCHITECTURE]) if architecture == AUTO else architecture


def check_architecture(architecture: str, key: str = "backbone.architecture") -> None:
    """Raises ParamsError for the parameter `key`, with similar names, if the architecture does not exist."""
    from torchvision import models

    names = [*BUILTIN_ARCHITECTURES, *models.list_models(module=models)]
    if architecture not in names:
        remedy = did_you_mean(architecture, names) or "; there are resnet10, mobilenet_v2, resnet50 and others"
        raise ParamsError(f"{key}: '{architecture}' does not exist{remedy}", key=key)


def preprocessing_of(
    architecture: str,
    description: dict[str, object],
    resize: int | None,
    crop: int | None,
    letterbox: bool = False,
    decoding: Decoding = DEFAULT,
) -> Preprocessing:
    """Returns the preprocessing of a weights file, overridden by `resize` and `crop` (pixels).

    A file without preprocessing gets that of the torchvision weights with its digest, or else of torchvision's first
    weights for the architecture. With `letterbox` the network sees the whole image: `resize` equals `crop`. Raises
    RootstockError if no preprocessing is available or the sizes contradict each other.
    """
    architecture = architecture_of(architecture, description)
    if "preprocessing" in description:
        default = described_preprocessing(description["preprocessing"])
    elif architecture in BUILTIN_ARCHITECTURES:
        raise RootstockError(
            f"backbone.weights: the {architecture} weights lack a description of their preprocessing; use the embedded "
            "weights",
            key="backbone.weights",
        )
    else:
        default = torchvision_preprocessing(architecture, torchvision_name(architecture, description))
    resized, cropped = resize or default.resize, crop or default.crop
    preprocessing = replace(default, resize=resized, crop=cropped, letterbox=letterbox, decoding=decoding)
    if letterbox and resize not in {None, preprocessing.crop}:
        raise RootstockError(
            "backbone.resize: a letterbox resizes the image to backbone.crop; set backbone.resize to null",
            key="backbone.resize",
        )
    if letterbox:
        return replace(preprocessing, resize=preprocessing.crop)
    if preprocessing.crop > preprocessing.resize:
        raise RootstockError(
            f"backbone.crop ({preprocessing.crop}) is larger than backbone.resize ({preprocessing.resize})",
            key="backbone.crop",
        )
    return preprocessing


def described_preprocessing(fields: object) -> Preprocessing:
    """Returns the preprocessing in a weights file's description. Raises RootstockError if it cannot be understood."""
    try:
        preprocessing = Preprocessing.of(fields)  # type: ignore[arg-type]
    except (TypeError, LookupError, AttributeError, ValueError):
        preprocessing = None
    if preprocessing and all(isinstance(size, int) and size > 0 for size in (preprocessing.resize, preprocessing.crop)):
        return preprocessing
    raise RootstockError(
        "backbone.weights: the preprocessing in the file's description cannot be used; it needs resize and crop in "
        "pixels, mean, std and interpolation. Correct it, or remove the description",
        key="weights-description",
    )


def torchvision_name(architecture: str, description: dict[str, object]) -> str | None:
    """Returns the name of the torchvision weights with the digest in a file's description, None if there are none.

    The URLs of torchvision's weights end with the first eight or more digits of the file's SHA-256.
    """
    from torchvision.models import get_model_weights

    if architecture in BUILTIN_ARCHITECTURES:
        return None
    check_architecture(architecture)
    digest = str(description.get(SHA256, ""))
    available = get_model_weights(architecture)
    return next((weights.name for weights in available if digest.startswith(_digest_in(weights.url))), None)


def _digest_in(url: str) -> str:
    return url.removesuffix(".pth").rpartition("-")[2]


def assumption_of(architecture: str, description: dict[str, object]) -> str | None:
    """Returns a sentence about the preprocessing if it is only assumed, since the weights file is unknown."""
    if "preprocessing" in description or torchvision_name(architecture, description):
        return None
    assumed = torchvision_preprocessing(architecture)
    return (
        f"backbone.weights: none of torchvision's files for {architecture}, so its preprocessing is assumed: resize "
        f"{assumed.resize}, crop {assumed.crop}, {assumed.interpolation} (backbone.resize and backbone.crop change it)"
    )


def torchvision_preprocessing(architecture: str, name: str | None = None) -> Preprocessing:
    """Returns the preprocessing of torchvision's weights `name`, or of its first weights for the architecture."""
    from torchvision.models import get_model_weights

    check_architecture(architecture)
    available = get_model_weights(architecture)
    transforms = [available[name].transforms()] if name else [weights.transforms() for weights in available]
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


def preprocessing_fields(preprocessing: Preprocessing) -> dict[str, object]:
    """Returns the description of a weights file's preprocessing; how images are decoded belongs to the data."""
    fields = asdict(preprocessing)
    del fields["decoding"]
    return fields


def _load(module: nn.Module, state: dict[str, Tensor], architecture: str) -> None:
    """Loads `state` strictly, except for the removed classifier. Raises RootstockError naming the mismatches."""
    expected = module.state_dict()
    loaded = {name: tensor for name, tensor in state.items() if name in expected or not name.startswith(CLASSIFIERS)}
    mismatches = [
        *(f"missing {name}" for name in expected.keys() - loaded.keys() if not name.endswith("num_batches_tracked")),
        *(f"unknown {name}" for name in loaded.keys() - expected.keys()),
        *(
            f"{name} is {list(loaded[name].shape)}, not {list(expected[name].shape)}"
            for name in expected.keys() & loaded.keys()
            if expected[name].shape != loaded[name].shape
        ),
    ]
    if mismatches:
        more = f"; and {len(mismatches) - 3} more" if len(mismatches) > 3 else ""
        raise RootstockError(
            f"backbone.weights do not fit a {architecture}: {'; '.join(sorted(mismatches)[:3])}{more}",
            key="backbone.weights",
        )
    module.load_state_dict(loaded, strict=False)


def embed(module: nn.Module, x_N3SS: Tensor) -> Tensor:
    """Returns features, (N, D) float32, for inputs (N, 3, S, S).

    Raises RootstockError if the batch does not fit into the device's memory.
    """
    try:
        with torch.inference_mode():
            features: Tensor = module(x_N3SS)
            return features.float()
    except torch.OutOfMemoryError:
        raise RootstockError(
            f"compute.batch: out of memory in a forward pass of {len(x_N3SS)} images; lower compute.batch",
            key="compute.batch",
        ) from None
