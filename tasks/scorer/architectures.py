"""Builds backbones without a classifier: torchvision's architectures and a few more.

Shapes: N images, S side of the input, D features.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
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


class SamePad(nn.Module):
    """Pads images before a convolution of stride 2 as TensorFlow's SAME does: more at the end if the side is even."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns the padded images, (N, C, H + P, W + Q)."""
        totals = [self.kernel - 2 + side % 2 for side in (x_NCHW.shape[3], x_NCHW.shape[2])]
        return F.pad(x_NCHW, [part for total in totals for part in (total // 2, total - total // 2)])


class InvertedResidual(nn.Module):
    """Expands, filters per channel and projects (Sandler et al., "MobileNetV2", 2018), with TensorFlow's padding."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        expand = _convolution(inputs, width, 1) if expansion > 1 else []
        filtered = _convolution(width, width, kernel, stride, groups=width)
        self.layers = nn.Sequential(*expand, *filtered, *_convolution(width, outputs, 1)[:-1])
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns activations, (N, `outputs`, H / `stride`, W / `stride`)."""
        y_NCHW: Tensor = self.layers(x_NCHW)
        return x_NCHW + y_NCHW if self.is_residual else y_NCHW


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Returns a convolution with its padding, BatchNorm and ReLU6."""
    pad: list[nn.Module] = [SamePad(kernel)] if stride > 1 else []
    padding = 0 if stride > 1 else kernel // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [*pad, layer, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU6()]


def efficientnet_lite0() -> nn.Module:
    """Builds EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, 2019) without squeeze-and-excitation, with ReLU6."""
    stages = [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3)]
    stages += [(6, 5, 2, 192, 4), (6, 3, 1, 320, 1)]
    width, blocks = 32, list[nn.Module]()
    for expansion, kernel, stride, outputs, repeats in stages:
        for place in range(repeats):
            blocks.append(InvertedResidual(width, outputs, expansion, kernel, stride if place == 0 else 1))
            width = outputs
    layers: dict[str, nn.Module] = {"stem": nn.Sequential(*_convolution(3, 32, 3, 2)), "blocks": nn.Sequential(*blocks)}
    layers |= {"last": nn.Sequential(*_convolution(width, 1280, 1)), "avgpool": nn.AdaptiveAvgPool2d(1)}
    layers |= {"flatten": nn.Flatten(), "dropout": nn.Dropout(0.2), "fc": nn.Linear(1280, 1000)}
    return nn.Sequential(OrderedDict(layers))


BUILTIN_ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "resnet10": resnet10,
    "resnet8": partial(small_resnet, 1),
    "resnet20": partial(small_resnet, 3),
    "efficientnet_lite0": efficientnet_lite0,
}


# As torchvision builds them for its pretrained weights, without the auxiliary classifiers of ImageNet training.
INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": True}


BUILD_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": INCEPTION, "inception_v3": INCEPTION}
