"""What of a network is frozen, what learns and how fast: blocks and layers in order, counted from the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import nn
from torchvision.ops import StochasticDepth

from tasks.core.errors import ParamsError
from tasks.scorer.network import Network

Names = tuple[str, ...]  # of modules, or of parameters that are in none

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)  # noqa: SLF001 - torch names no public base
BATCH_NORMS = (nn.modules.batchnorm._NormBase,)  # noqa: SLF001
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
EVERYTHING = 10**6  # blocks


class ParameterGroup(NamedTuple):
    """Parameters that share a learning rate."""

    parameters: list[nn.Parameter]
    lr: float


def blocks(module: nn.Module) -> list[Names]:
    """The ordered blocks with parameters, each as the names of its modules; a bare norm belongs to the one before.

    Parameters that are in no block, such as a transformer's class token, belong to the first one, by their own names.
    """
    found: list[Names] = []
    for name, child in _units(module, ""):
        if isinstance(child, NORMS) and found:
            found[-1] = (*found[-1], name)
        else:
            found.append((name,))
    return _with_loose(module, found)


def layers(module: nn.Module) -> list[Names]:
    """The ordered layers, as Keras counts them: what has parameters of its own, and pooling.

    Activations, dropout and the pooling before the head are none; parameters outside of layers go with the first. Of
    what has parameters beside layers in it, such as a transformer's attention, its own are a layer by their names.
    """
    found: list[Names] = []
    for name, child in module.named_modules():
        own = [f"{name}.{key}" for key, _ in child.named_parameters(recurse=False)]
        if isinstance(child, POOLS) or (name and own):
            whole = len(own) == sum(1 for _ in child.parameters())
            found.append((name,) if whole else tuple(own))
    return _with_loose(module, found)


def _with_loose(module: nn.Module, found: list[Names]) -> list[Names]:
    held = tuple(part for block in found for part in block)
    loose = (name for name, _ in module.named_parameters() if not within(name, held))
    return [(*found[0], *loose), *found[1:]]


def within(name: str, parts: Sequence[str]) -> bool:
    """Whether a parameter or module is one of the parts, or in one."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _units(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if type(child) in {nn.Sequential, nn.ModuleList} or type(child).__name__ == "Encoder":
            yield from _units(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            yield f"{prefix}{name}", child


def freeze_all_but_last(module: nn.Module, count: int, unit: str = "blocks") -> list[Names]:
    """Lets only the last `count` blocks or layers learn, and returns them, last first; more than there are: all."""
    learning = (layers(module) if unit == "layers" else blocks(module))[::-1][:count]
    thaw(module, learning)
    return learning


def thaw(module: nn.Module, learning: Sequence[Names]) -> None:
    """Lets these learn, and nothing else."""
    names = [name for block in learning for name in block]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(within(name, names))


def unfrozen(learning: Sequence[Names], epoch: int, every: int) -> Sequence[Names]:
    """Those that learn in an epoch: all; or one, and one more after `every` epochs, from the last.

    Gradual unfreezing, as in Howard and Ruder, "Universal Language Model Fine-tuning" (2018).
    """
    return learning[: 1 + epoch // every] if every else learning


def learn_mode(network: Network, learning: Sequence[Names], *, batch_statistics: bool, dropout: bool = False) -> None:
    """Training mode for the head and what learns alone: what is frozen keeps its BatchNorm buffers too.

    Without `batch_statistics` the learning blocks' BatchNorm stays in inference mode as well, as is usual for
    fine-tuning on few images (Keras, "Transfer learning and fine-tuning"). With `dropout` the layers of dropout that
    are in no block, such as those before the head, are active.
    """
    network.eval()
    network.head.train()
    modules = dict(network.backbone.named_modules())
    for name in (name for block in learning for name in block if name in modules):
        modules[name].train()
    if dropout:
        held = [name for block in blocks(network.backbone) for name in block]
        for name, layer in modules.items():
            if isinstance(layer, nn.Dropout) and not within(name, held):
                layer.train()
    if not batch_statistics:
        for layer in network.modules():
            if isinstance(layer, BATCH_NORMS):
                layer.eval()


def drop(module: nn.Module, dropout: float | None, depth: float | None) -> None:
    """Sets the chance of dropout, and that of stochastic depth at the last block, less before (Huang et al., 2016).

    None leaves them as the architecture has them. Raises ParamsError for one that it does not have.
    """
    for name, kind, chance in (("dropout", nn.Dropout, dropout), ("stochastic_depth", StochasticDepth, depth)):
        found = [layer for layer in module.modules() if isinstance(layer, kind)]
        if chance and not found:
            raise ParamsError(f"finetune.{name}: this architecture has none; set it to null")
        if chance is not None:
            for place, layer in enumerate(found):
                layer.p = chance if kind is nn.Dropout else chance * (place + 1) / len(found)


def parameter_groups(
    network: Network, learning: Sequence[Names], head_lr: float, lr: float, layer_lr_decay: float
) -> list[ParameterGroup]:
    """Returns discriminative rates: `head_lr`, then `lr` for the last block, decayed for each block before it."""
    groups = [ParameterGroup(list(network.head.parameters()), head_lr)]
    for depth, block in enumerate(learning):
        parameters = [p for name, p in network.backbone.named_parameters() if within(name, block)]
        groups.append(ParameterGroup(parameters, lr * layer_lr_decay**depth))
    return groups
