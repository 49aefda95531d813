"""Every torchvision classification architecture; make bench ARGS=architectures runs all of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tasks.models.backbone import preprocessing_of
from tasks.models.freezing import freeze_all_but_last
from tasks.scorer.architectures import build_backbone, folded
from tasks.scorer.network import Network
from tests.scorer.architectures import ALL, examined, norms, side_of, step_keeps_the_frozen_part, structure, within

SMALL = (
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
)
SMALL += ("shufflenet_v2_x0_5", "squeezenet1_1", "swin_t")


@pytest.mark.parametrize("architecture", ALL)
def test_each_has_preprocessing_a_width_and_ordered_blocks(architecture):
    preprocessing = preprocessing_of(architecture, {}, None, None)
    assert 0 < preprocessing.crop <= preprocessing.resize
    module, width, ordered = structure(architecture)
    assert width >= 256
    assert len(ordered) >= 5
    names = [name for name, _ in module.named_parameters()]
    owners = [sum(within(name, block) for block in ordered) for name in names]
    assert set(owners) == {1}, "a parameter is in no block, or in two"
    learning = freeze_all_but_last(module, 2)
    assert {name for name, p in module.named_parameters() if p.requires_grad} == {
        name for name in names if any(within(name, block) for block in learning)
    }


@pytest.mark.parametrize("architecture", SMALL)
def test_each_family_gives_features_takes_a_head_and_stays_frozen(architecture):
    assert examined(architecture)["computed"]


def test_efficientnet_lite0_has_blocks_in_order_and_stays_frozen():
    _, width, ordered = structure("efficientnet_lite0")
    assert (width, len(ordered)) == (1280, 18)  # the stem, 16 inverted residuals, the last convolution
    module, _ = build_backbone("efficientnet_lite0")
    step_keeps_the_frozen_part(Network(module, nn.Linear(width, 3)), 64)


@pytest.mark.parametrize(("architecture", "layers"), [("resnet8", 8), ("resnet20", 20)])
def test_networks_for_small_images_keep_the_resolution_before_they_pool(architecture, layers):
    module, width, ordered = structure(architecture)
    weights = [name for name, p in module.named_parameters() if p.dim() > 1 and "downsample" not in name]
    assert len(weights) + 1 == layers  # plus the head's layer
    assert width == 64
    assert len(ordered) == 1 + (layers - 2) // 2
    assert module[:4](torch.zeros(2, 3, 28, 28)).shape == (2, 16, 28, 28)
    assert module(torch.zeros(2, 3, 28, 28)).shape == (2, 64)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["convnext_tiny", "inception_v3", "maxvit_t", "vgg11_bn", "vit_b_32"])
def test_larger_families_give_features_and_take_a_head(architecture):
    examined(architecture)


@pytest.mark.parametrize(
    ("architecture", "width"),
    [
        ("resnet10", 512),
        ("resnet18", 512),
        ("mobilenet_v2", 1280),
        ("squeezenet1_1", 512),
        ("shufflenet_v2_x0_5", 1024),
        ("efficientnet_b0", 1280),
    ],
)
def test_backbones_give_flat_features_of_the_width_they_say(architecture, width):
    backbone, reported = build_backbone(architecture)
    with torch.inference_mode():
        assert backbone.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, width)
    assert reported == width


@pytest.mark.parametrize(
    "architecture",
    [
        *("resnet10", "resnet8", "mobilenet_v2", "shufflenet_v2_x0_5", "googlenet", "vgg11_bn"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("densenet121", "efficientnet_b0", "maxvit_t")),
    ],
)
def test_folding_keeps_the_outputs_and_the_original_network(architecture):
    backbone = build_backbone(architecture)[0].eval()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (layer.bias, layer.running_mean):
                nn.init.normal_(tensor, 0.0, 0.1)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    answering = folded(backbone)
    assert norms(answering) < 0.6 * norms(backbone)  # some BatchNorm layers do not follow a convolution
    x = torch.randn(2, 3, side_of(architecture), side_of(architecture))
    with torch.inference_mode():
        torch.testing.assert_close(answering(x), backbone(x), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


class Changing(nn.Module):
    """A network whose path depends on its input."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.convolution(x)) if x.sum() > 0 else x


@pytest.mark.parametrize("network", [Changing(), nn.Sequential(nn.Flatten(), nn.Linear(12, 2))])
def test_a_network_that_cannot_be_folded_is_returned_unchanged(network):
    assert folded(network) is network
