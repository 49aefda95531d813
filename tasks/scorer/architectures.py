"""Backbones: torchvision's architectures and our own, cut before their classifier."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.fx.proxy import TraceError


def folded(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode that answers the same sooner: a BatchNorm after a convolution goes into its weights.

    Jacob et al., "Quantization and Training of Neural Networks", 2018, 3.2; with running statistics it is linear, so
    only rounding differs. The module itself, put in that mode, where it has none or its control flow is data-dependent.
    """
    module.eval()
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return module
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(module)
    except (TraceError, TypeError, RuntimeError):
        return module


def build_backbone(architecture: str, cut: str = "layer") -> tuple[nn.Module, int]:
    """A torchvision classification model, randomly initialised, and its width D.

    It is cut before its last linear layer; with `cut` = "classifier", before the first one of its classifier, which
    Keras calls include_top=False.
    """
    from torchvision.models import get_model  # imported where a network is built, since it takes two seconds

    settings = SETTINGS.get(architecture, {})
    module = (
        BUILTIN_ARCHITECTURES[architecture]()
        if architecture in BUILTIN_ARCHITECTURES
        else get_model(architecture, weights=None, **settings)
    )
    name, last = classifier_of(module)
    parent, _, leaf = name.rpartition(".")
    if cut == "classifier" and isinstance(module.get_submodule(parent), nn.Sequential) and parent:
        layers = list(module.get_submodule(parent).children())
        first = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Linear))
        setattr(module, parent, nn.Sequential(*layers[:first], nn.Flatten(1)))
        return module, layers[first].in_features
    if isinstance(last, nn.Linear):
        setattr(module.get_submodule(parent), leaf, nn.Identity())
        return module, last.in_features
    setattr(module, name, nn.AdaptiveAvgPool2d(1))
    return module, last.in_channels


def classifier_of(module: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The name and layer that turns features into classes: the last linear one, or SqueezeNet's 1x1 convolution."""
    linear = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if linear:
        return linear[-1]
    return "classifier", next(
        layer for layer in module.get_submodule("classifier").children() if isinstance(layer, nn.Conv2d)
    )


def resnet10() -> nn.Module:
    """ResNet-10: four stages of one basic block, the architecture of the embedded backbone."""
    from torchvision.models.resnet import BasicBlock, ResNet

    network: nn.Module = ResNet(BasicBlock, [1, 1, 1, 1])
    return network


def small_resnet(blocks: int) -> nn.Module:
    """The ResNet of 6 `blocks` + 2 layers for small pictures: no stride before its second stage (He et al., 2016)."""
    from torchvision.models.resnet import BasicBlock, conv1x1, conv3x3

    def stage(inputs: int, width: int, stride: int) -> nn.Sequential:
        shortcut = None
        if stride > 1:
            shortcut = nn.Sequential(conv1x1(inputs, width, stride), nn.BatchNorm2d(width))
        first = BasicBlock(inputs, width, stride, shortcut)
        return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))

    layers = {"conv1": conv3x3(3, 16), "bn1": nn.BatchNorm2d(16), "relu": nn.ReLU()}
    layers |= {"layer1": stage(16, 16, 1), "layer2": stage(16, 32, 2), "layer3": stage(32, 64, 2)}
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(64, 1000)}
    network = nn.Sequential(OrderedDict(layers))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network


BUILTIN_ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "resnet10": resnet10,
    "resnet8": partial(small_resnet, 1),
    "resnet20": partial(small_resnet, 3),
}


# As torchvision builds them for its pretrained weights, without the side branches that only ImageNet training used.
INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": True}


SETTINGS: dict[str, dict[str, Any]] = {"googlenet": INCEPTION, "inception_v3": INCEPTION}
