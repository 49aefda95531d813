"""Builds backbones without a classifier: torchvision's architectures and a few more.

Shapes: N images, S side of the input, D features.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.fx.proxy import TraceError


def folded(module: nn.Module) -> nn.Module:
    """Returns an eval-mode copy with each BatchNorm folded into the convolution before it: faster, same up to rounding.

    Returns the module itself, in eval mode, if it has no BatchNorm or its control flow depends on the data. Source:
    Jacob et al., "Quantization and Training of Neural Networks", 2018, section 3.2.
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
    """Builds a randomly initialized backbone, (N, 3, S, S) to (N, D). Returns it and its width D.

    `cut` = "layer" removes the last linear layer; "classifier" removes all linear layers of the classifier, which
    Keras calls include_top=False.
    """
    from torchvision.models import get_model  # imported here because it takes two seconds

    options = BUILD_OPTIONS.get(architecture, {})
    module = (
        BUILTIN_ARCHITECTURES[architecture]()
        if architecture in BUILTIN_ARCHITECTURES
        else get_model(architecture, weights=None, **options)
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
    """Returns the layer that maps features to classes, the last linear layer or a convolution, and its name."""
    linear = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if linear:
        return linear[-1]
    return "classifier", next(
        layer for layer in module.get_submodule("classifier").children() if isinstance(layer, nn.Conv2d)
    )


def resnet10() -> nn.Module:
    """Builds ResNet-10, the architecture of the embedded backbone: four stages of one basic block."""
    from torchvision.models.resnet import BasicBlock, ResNet

    network: nn.Module = ResNet(BasicBlock, [1, 1, 1, 1])
    return network


def small_resnet(blocks: int) -> nn.Module:
    """Builds the CIFAR ResNet of 6 * `blocks` + 2 layers: no stride before the second stage (He et al., 2016)."""
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


# As torchvision builds them for its pretrained weights, without the auxiliary classifiers of ImageNet training.
INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": True}


BUILD_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": INCEPTION, "inception_v3": INCEPTION}
