"""The pretrained network: its weights, preprocessing, width and ordered blocks; and what is frozen of it.

Shapes: N images, S the input's side, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tasks.parts.errors import RootstockError
from tasks.parts.scorer import OWN, Network, Preprocessing, build_backbone

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)  # noqa: SLF001 - torch names no public base
BATCH_NORMS = (nn.modules.batchnorm._NormBase,)  # noqa: SLF001
# Cut off, so not asked of a weights file: classifiers, and the side branches that only ImageNet training used.
CLASSIFIERS = ("fc.", "classifier.", "head.", "heads.", "aux1.", "aux2.", "AuxLogits.")
VIT_SIDE = 224  # pixels that torchvision builds vision transformers for


@dataclass(frozen=True)
class Backbone:
    """A network from (N, 3, S, S) to (N, D), and the preprocessing that its weights were trained with."""

    module: nn.Module
    width: int
    preprocessing: Preprocessing


def build(
    architecture: str,
    state: dict[str, Tensor],
    description: dict[str, object],
    resize: int | None,
    crop: int | None,
    cut: str = "layer",
) -> Backbone:
    """The backbone with these weights. Raises RootstockError if there is no such architecture or they do not fit."""
    check_architecture(architecture)
    module, width = build_backbone(architecture, cut)
    _load(module, state, architecture)
    return Backbone(module.eval(), width, preprocessing_of(architecture, description, resize, crop))


def check_architecture(architecture: str) -> None:
    """Raises RootstockError, with near names, unless the architecture is known."""
    from difflib import get_close_matches

    from torchvision import models

    known = [*OWN, *models.list_models(module=models)]
    if architecture not in known:
        near = get_close_matches(architecture, known) or ["resnet10", "mobilenet_v2", "resnet50"]
        raise RootstockError(f"backbone.architecture: there is no '{architecture}'; did you mean {' or '.join(near)}?")


def preprocessing_of(
    architecture: str, description: dict[str, object], resize: int | None, crop: int | None
) -> Preprocessing:
    """As the weights file says, else as torchvision's first weights of the architecture; then `resize` and `crop`."""
    if "preprocessing" in description:
        found = Preprocessing.of(description["preprocessing"])  # type: ignore[arg-type]
    elif architecture in OWN:
        raise RootstockError(f"these weights of {architecture} do not say their preprocessing; use the embedded ones")
    else:
        found = torchvision_preprocessing(architecture)
    chosen = replace(found, resize=resize or found.resize, crop=crop or found.crop)
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


def blocks(module: nn.Module) -> list[tuple[str, ...]]:
    """The ordered blocks with parameters, each as the names of its modules; a bare norm belongs to the one before.

    Parameters that are in no block, such as a transformer's class token, belong to the first one, by their own names.
    """
    found: list[tuple[str, ...]] = []
    for name, child in _units(module, ""):
        if isinstance(child, NORMS) and found:
            found[-1] = (*found[-1], name)
        else:
            found.append((name,))
    held = tuple(part for block in found for part in block)
    loose = (name for name, _ in module.named_parameters() if not _within(name, held))
    return [(*found[0], *loose), *found[1:]]


def _within(name: str, parts: Sequence[str]) -> bool:
    """Whether a parameter is one of the parts, or in one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _units(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if type(child) in {nn.Sequential, nn.ModuleList} or type(child).__name__ == "Encoder":
            yield from _units(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            yield f"{prefix}{name}", child


def freeze_all_but_last(module: nn.Module, count: int) -> list[tuple[str, ...]]:
    """Lets only the last `count` blocks learn, and returns them in order, last first; more than there are: all."""
    learning = blocks(module)[::-1][:count]
    names = [name for block in learning for name in block]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(_within(name, names))
    return learning


def learn_mode(network: Network, learning: Sequence[tuple[str, ...]], *, batch_statistics: bool) -> None:
    """Training mode for the head and the learning blocks alone: what is frozen keeps its BatchNorm buffers too.

    Without `batch_statistics` the learning blocks' BatchNorm stays in inference mode as well, as is usual for
    fine-tuning on few images (Keras, "Transfer learning and fine-tuning").
    """
    network.eval()
    network.head.train()
    modules = dict(network.backbone.named_modules())
    for name in (name for block in learning for name in block if name in modules):
        modules[name].train()
    if not batch_statistics:
        for layer in network.modules():
            if isinstance(layer, BATCH_NORMS):
                layer.eval()


def parameter_groups(
    network: Network, learning: Sequence[tuple[str, ...]], head_rate: float, rate: float, decay: float
) -> list[dict[str, object]]:
    """Discriminative rates: the head's, then `rate` for the last block, times `decay` for each block before it."""
    groups: list[dict[str, object]] = [{"params": list(network.head.parameters()), "rate": head_rate}]
    for depth, block in enumerate(learning):
        parameters = [p for name, p in network.backbone.named_parameters() if _within(name, block)]
        groups.append({"params": parameters, "rate": rate * decay**depth})
    return groups


def embed(module: nn.Module, x_N3SS: Tensor) -> Tensor:
    """Features, (N, D) float32."""
    with torch.inference_mode():
        features: Tensor = module(x_N3SS)
        return features.float()
