"""Freezes and unfreezes a network's blocks or layers, counted from the last, and sets their learning rates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import nn
from torchvision.ops import StochasticDepth

from tasks.core.errors import ParamsError
from tasks.scorer.network import Network

Names = tuple[str, ...]  # of modules, or of parameters outside of modules

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)  # noqa: SLF001 - torch has no public base class
BATCH_NORMS = (nn.modules.batchnorm._NormBase,)  # noqa: SLF001
POOLS = (nn.MaxPool2d, nn.AvgPool2d)
EVERYTHING = 10**6  # blocks; more than any network has


class ParameterGroup(NamedTuple):
    """Parameters that share a learning rate."""

    parameters: list[nn.Parameter]
    lr: float


def blocks(module: nn.Module) -> list[Names]:
    """Returns the blocks that have parameters, in order, as module names; a norm joins the preceding block.

    Parameters outside of blocks, such as a transformer's class token, join the first block.
    """
    units: list[Names] = []
    for name, child in _units(module, ""):
        if isinstance(child, NORMS) and units:
            units[-1] = (*units[-1], name)
        else:
            units.append((name,))
    return _with_loose(module, units)


def layers(module: nn.Module) -> list[Names]:
    """Returns the layers in order, as Keras counts them: modules with direct parameters, and pooling.

    Activations, dropout and the pooling before the head do not count; parameters outside of layers join the first
    layer. If a module has direct parameters and submodules with parameters (attention), its direct parameters form a
    layer.
    """
    units: list[Names] = []
    for name, child in module.named_modules():
        direct = [f"{name}.{key}" for key, _ in child.named_parameters(recurse=False)]
        if isinstance(child, POOLS) or (name and direct):
            has_submodules = len(direct) != sum(1 for _ in child.parameters())
            units.append(tuple(direct) if has_submodules else (name,))
    return _with_loose(module, units)


def _with_loose(module: nn.Module, units: list[Names]) -> list[Names]:
    """Adds the parameters that are in no unit to the first unit."""
    covered = tuple(name for unit in units for name in unit)
    loose = (name for name, _ in module.named_parameters() if not within(name, covered))
    return [(*units[0], *loose), *units[1:]]


def within(name: str, parts: Sequence[str]) -> bool:
    """Returns whether the parameter or module `name` is one of `parts` or inside one of them."""
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _units(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if type(child) in {nn.Sequential, nn.ModuleList} or type(child).__name__ == "Encoder":
            yield from _units(child, f"{prefix}{name}.")
        elif any(True for _ in child.parameters()):
            yield f"{prefix}{name}", child


def freeze_all_but_last(module: nn.Module, count: int, unit: str = "blocks") -> list[Names]:
    """Makes only the last `count` blocks or layers trainable, or all if there are fewer. Returns them, last first."""
    learning = (layers(module) if unit == "layers" else blocks(module))[::-1][:count]
    thaw(module, learning)
    return learning


def thaw(module: nn.Module, learning: Sequence[Names]) -> None:
    """Makes the parameters of `learning` trainable and freezes all others."""
    names = [name for block in learning for name in block]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(within(name, names))


def unfrozen(learning: Sequence[Names], epoch: int, every: int) -> Sequence[Names]:
    """Returns the blocks trained in `epoch`, starting from the last: one more every `every` epochs; 0: all at once.

    Gradual unfreezing after Howard and Ruder, "Universal Language Model Fine-tuning" (2018).
    """
    return learning[: 1 + epoch // every] if every else learning


def learn_mode(network: Network, learning: Sequence[Names], *, batch_statistics: bool, dropout: bool = False) -> None:
    """Puts the head and the `learning` blocks into training mode, and the rest, including BatchNorm, into eval mode.

    Without `batch_statistics`, even the BatchNorm layers of trained blocks stay in eval mode, as usual for fine-tuning
    on few images (Keras, "Transfer learning and fine-tuning"). `dropout` activates the dropout layers outside of
    blocks, such as those before the head.
    """
    network.eval()
    network.head.train()
    modules = dict(network.backbone.named_modules())
    for name in (name for block in learning for name in block if name in modules):
        modules[name].train()
    if dropout:
        in_blocks = [name for block in blocks(network.backbone) for name in block]
        for name, layer in modules.items():
            if isinstance(layer, nn.Dropout) and not within(name, in_blocks):
                layer.train()
    if not batch_statistics:
        for layer in network.modules():
            if isinstance(layer, BATCH_NORMS):
                layer.eval()


def set_dropout(module: nn.Module, dropout: float | None, depth: float | None) -> None:
    """Sets the dropout rate, and the stochastic depth rate of the last block, scaled linearly (Huang et al., 2016).

    None keeps the architecture's rates. Raises ParamsError if the architecture lacks such layers.
    """
    for name, kind, rate in (("dropout", nn.Dropout, dropout), ("stochastic_depth", StochasticDepth, depth)):
        layers_of_kind = [layer for layer in module.modules() if isinstance(layer, kind)]
        if rate and not layers_of_kind:
            raise ParamsError(
                f"finetune.{name}: this architecture has no such layers; set it to null", key=f"finetune.{name}"
            )
        if rate is not None:
            for place, layer in enumerate(layers_of_kind):
                layer.p = rate if kind is nn.Dropout else rate * (place + 1) / len(layers_of_kind)


def parameter_groups(
    network: Network, learning: Sequence[Names], head_lr: float, lr: float, layer_lr_decay: float
) -> list[ParameterGroup]:
    """Returns parameter groups: `head_lr` for the head, `lr` for the last block, decayed for each preceding block."""
    groups = [ParameterGroup(list(network.head.parameters()), head_lr)]
    for depth, block in enumerate(learning):
        parameters = [p for name, p in network.backbone.named_parameters() if within(name, block)]
        groups.append(ParameterGroup(parameters, lr * layer_lr_decay**depth))
    return groups
